package main

import (
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// TestOperatorsIssuers runs itself again with proxy variables, which Go reads
// once in a process.
func TestOperatorsIssuers(t *testing.T) {
	if os.Getenv("HTTPS_PROXY") == "http://proxy.example:3128" {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://issuer.example/.well-known/openid-configuration", nil)
		if err != nil {
			t.Fatal(err)
		}
		config := operatorsIssuers(klog.Logger{})
		if proxy, err := config.Proxy(r); err != nil || proxy == nil || proxy.Host != "proxy.example:3128" {
			t.Errorf("proxy %v, %v", proxy, err)
		}
		if err := config.Egress.Check(netip.MustParseAddrPort("169.254.1.1:443")); err != nil {
			t.Errorf("an address of the operator's choice: %v", err)
		}
		return
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOperatorsIssuers$", "-test.v") //nolint:gosec // this test
	again.Env = append(os.Environ(), "HTTPS_PROXY=http://proxy.example:3128", "NO_PROXY=")
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOperatorsIssuers") {
		t.Errorf("%v\n%s", err, out)
	}
}
