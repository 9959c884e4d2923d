package apistatus

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/index"
)

func TestWarn(t *testing.T) {
	unknown := ForLookup(index.ErrUnknown, httptest.NewRequest("GET", "/clusters/root:nope/api", nil))
	for name, tt := range map[string]struct {
		status    *metav1.Status
		workspace string
		want      []string
	}{
		"401":                            {Unauthenticated(&authn.Decision{Status: 401, Credential: authn.CertificateOnly}), "root:a", []string{`299 front-proxy "Unauthorized: the client certificate was not accepted"`}},
		"503":                            {Unreachable(`shard "s"`, 0), "root:a", []string{`299 front-proxy "shard \"s\" could not be reached; try again later"`}},
		"429":                            {TooManyRequests("you have"), "root:a", []string{`299 front-proxy "you have too many requests under way, please try again later"`}},
		"unknown workspace":              {unknown, "root:nope", []string{`299 front-proxy "workspace \"root:nope\" does not exist, or you have no access to it"`}},
		"unknown workspace, not ASCII":   {unknown, "root:\u00fcx\n", []string{`299 front-proxy "workspace \"root:\\u00fcx\\n\" does not exist, or you have no access to it"`}},
		"another 403":                    {Forbidden("no mount"), "root:a", []string{`299 front-proxy "no mount"`}},
		"404":                            {NotFound(), "root:a", nil},
		"a text that no header can have": {Forbidden("a\r\nX-Remote-User: admin"), "root:a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			Warn(h, tt.status, tt.workspace)
			if diff := cmp.Diff(tt.want, h.Values("Warning")); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsAreShort(t *testing.T) {
	h := http.Header{}
	WarnNoAccess(h, strings.Repeat("a", 1<<20))
	Warn(h, Forbidden("%s", strings.Repeat("b", 1<<20)), "")
	if all := h.Values("Warning"); len(all) != 2 || len(all[0])+len(all[1]) > 1<<10 {
		t.Errorf("%d warnings of %d bytes", len(all), len(strings.Join(all, "")))
	}
}
