package proxy

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"frontproxy/index"
)

// TestUnusableMounts: the client is told what is wrong with a mounted host, and is not asked to try again when
// that would not help.
func TestUnusableMounts(t *testing.T) {
	for name, tt := range map[string]struct {
		trusted bool
		path    string
		text    string
		again   string // Retry-After
	}{
		"an untrusted certificate": {false, "within", "the mount of the workspace cannot be used: its certificate could not be verified; tell the owner of the workspace", ""},
		"too many header fields":   {true, "many", "the mount of the workspace cannot be used: its answer is larger than the proxy allows; tell the owner of the workspace", ""},
		"nobody listens":           {true, "", "the mount of the workspace could not be reached; try again later", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shard(t, "shard-1", false, nil)
			host := httptest.NewUnstartedServer(http.HandlerFunc(answers))
			host.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "host")}}
			host.Config.ErrorLog = log.New(io.Discard, "", 0)
			host.StartTLS()
			t.Cleanup(host.Close)
			if tt.path == "" {
				host.Close()
			}
			w.index["root:away"] = index.Target{Mount: parse(t, host.URL)}
			w.config.Routing.MountTLS = &tls.Config{}
			if tt.trusted {
				w.config.Routing.MountTLS.RootCAs = w.serving.Pool
			}
			w.config.Routing.MountDial = (&net.Dialer{}).DialContext
			f := w.front(t)
			res, body := do(t, f.client(t, true), http.MethodGet, f.URL+"/clusters/root:away/"+tt.path, nil)
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), tt.text) || res.Header.Get("Retry-After") != tt.again {
				t.Errorf("%s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), body)
			}
		})
	}
}
