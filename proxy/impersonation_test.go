package proxy

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/proxy/zpages"
)

// noConfigurations has none to tell of.
type noConfigurations struct{}

func (noConfigurations) TenantConfigurations(string, string) ([]workspacetypes.TenantConfiguration, int, error) {
	return nil, 0, nil
}

func (noConfigurations) DryRunConfigurations(context.Context, string, *workspacetypes.Change, string) ([]workspacetypes.TenantConfiguration, *authn.Explanation, error) {
	return nil, nil, nil
}

// TestPagesHonorImpersonation: a component that acts for its users must not show them
// what only it may see.
func TestPagesHonorImpersonation(t *testing.T) {
	w := newWorld(t)
	shard := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) { // only the dashboard itself may
		answer := `{"status":{"allowed":true}}`
		if r.Header.Get("Impersonate-User") != "" {
			answer = `{"status":{"allowed":false}}`
		}
		_, _ = rw.Write([]byte(answer))
	})
	decider, err := authn.New(authn.Config{Instance: "front"})
	if err != nil {
		t.Fatal(err)
	}
	w.config.Decider = deciderFunc(func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{User: &user.DefaultInfo{Name: "dashboard"}, Status: http.StatusOK}
	})
	w.config.Pages.Explainer, w.config.Pages.Configurer, w.config.Pages.Authorizer = decider, noConfigurations{}, allowAll{}
	w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
	f := w.front(t)
	client := f.client(t, true)
	for path, alone := range map[string]int{
		"/clusters/ws" + zpages.ExplainPath + "/front-0":     http.StatusNotFound, // no such refusal
		"/clusters/ws" + zpages.AuthenticationPath:           http.StatusOK,
		"/clusters/ws" + zpages.AuthenticationPath + "/auth": http.StatusNotFound, // no such configuration
		zpages.StatuszPath:              http.StatusOK,
		zpages.FlagzPath:                http.StatusOK,
		zpages.MetricsPath:              http.StatusOK,
		zpages.ExplainPath + "/front-0": http.StatusNotFound,
	} {
		for name, tc := range map[string]struct {
			header http.Header
			want   int
		}{
			"itself":              {http.Header{}, alone},
			"a user":              {http.Header{"Impersonate-User": {"bob"}}, http.StatusForbidden},
			"a user, extra first": {http.Header{"Impersonate-Extra-Scopes": {"x"}, "Impersonate-User": {"bob"}}, http.StatusForbidden},
		} {
			res, body := do(t, client, http.MethodGet, f.URL+path, tc.header)
			if res.StatusCode != tc.want {
				t.Errorf("%s as %s: %d, want %d: %s", path, name, res.StatusCode, tc.want, strings.TrimSpace(string(body)))
			}
		}
	}
}
