package e2e

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestArgumentsOfKcpFrontProxy: every flag and feature gate that this kcp's
// kcp-front-proxy lists in its help is accepted.
func TestArgumentsOfKcpFrontProxy(t *testing.T) {
	t.Parallel()
	help := func(binary string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), binary, "--help").CombinedOutput() //nolint:gosec // of this repository
		check(t, err)
		return string(out)
	}
	find := func(pattern, text string) (all []string) {
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, found[1])
		}
		return all
	}
	const flag, gate = `(?m)^ +(?:-\w, )?--([a-z0-9-]+)`, `[ ,]([A-Z][A-Za-z0-9]+)=(?:true|false)`
	theirs := help(env.Binaries().KCPFrontProxy)
	ours := find(flag, help(env.Binaries().FrontProxy))
	flags := find(flag, theirs)
	if len(flags) < 57 {
		t.Fatalf("kcp-front-proxy's help has %d flags", len(flags))
	}
	for _, name := range flags {
		if !slices.Contains(ours, name) {
			t.Errorf("kcp-front-proxy %s takes --%s, and front-proxy does not", env.Binaries().Version, name)
		}
	}
	gates := find(gate, theirs)
	if !slices.Contains(gates, "WorkspaceAuthentication") || len(gates) < 10 {
		t.Fatalf("kcp-front-proxy's help has the gates %q", gates)
	}
	if out, code := frontProxy(t, "--version", "--feature-gates="+strings.Join(gates, "=true,")+"=true"); code != 0 {
		t.Errorf("with every gate it exits with %d:\n%s", code, out)
	}
}
