package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindBinariesNamesTheMakeTarget(t *testing.T) {
	t.Setenv("FRONT_PROXY_E2E_BINARY", "")
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	if _, err := FindBinaries(); err == nil || !strings.Contains(err.Error(), "run from inside the repository") {
		t.Errorf("outside the repository: %v", err)
	}
	write("e2e/kcp/go.mod", "module x\n\nrequire (\n\tgithub.com/kcp-dev/kcp v9.8.7\n)\n")
	write("deep/inside/file", "")
	t.Chdir(filepath.Join(dir, "deep", "inside"))
	_, err := FindBinaries()
	for _, want := range []string{"`make bin/kcp-v9.8.7`", "`make build`"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing built: %v, want it to name %s", err, want)
		}
	}
	for _, tool := range []string{"kcp-v9.8.7/kcp", "kcp-v9.8.7/kcp-front-proxy", "kcp-v9.8.7/cache-server", "kcp-v9.8.7/kubectl", "front-proxy"} {
		write("bin/"+tool, "")
	}
	got, err := FindBinaries()
	if err != nil || got.KCP != filepath.Join(dir, "bin", "kcp-v9.8.7", "kcp") {
		t.Errorf("all built: %+v, %v", got, err)
	}
}
