package harness

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindBinariesNamesTheMakeTarget(t *testing.T) {
	t.Setenv("FRONT_PROXY_E2E_BINARY", "")
	t.Setenv("FRONT_PROXY_E2E_KCP", "")
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
	if _, err := FindBinaries(""); err == nil || !strings.Contains(err.Error(), "run from inside the repository") {
		t.Errorf("outside the repository: %v", err)
	}
	write("e2e/kcp-0.31/go.mod", "module x\n\nrequire github.com/kcp-dev/kcp v7.6.5\n")
	write("e2e/kcp-0.32/go.mod", "module x\n\nrequire (\n\tgithub.com/kcp-dev/kcp v9.8.7\n)\n")
	write("deep/inside/file", "")
	t.Chdir(filepath.Join(dir, "deep", "inside"))
	_, err := FindBinaries("")
	for _, want := range []string{"`make bin/kcp-v9.8.7`", "`make build`"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing built: %v, want it to name %s", err, want)
		}
	}
	for _, tool := range []string{"kcp-v9.8.7/kcp", "kcp-v9.8.7/kcp-front-proxy", "kcp-v9.8.7/cache-server", "kcp-v9.8.7/kubectl", "front-proxy"} {
		write("bin/"+tool, "")
	}
	got, err := FindBinaries("")
	if err != nil || got.KCP != filepath.Join(dir, "bin", "kcp-v9.8.7", "kcp") {
		t.Errorf("all built: %+v, %v", got, err)
	}
	if got.Version != "v9.8.7" {
		t.Errorf("the version is %q", got.Version)
	}
	for kcp, from := range map[string]string{KCP031: "", "": KCP031} { // as an argument, by the environment
		t.Setenv("FRONT_PROXY_E2E_KCP", from)
		if _, err := FindBinaries(kcp); err == nil || !strings.Contains(err.Error(), "`make bin/kcp-v7.6.5`") {
			t.Errorf("the other kcp: %v", err)
		}
	}
	if _, err := FindBinaries("0.1"); err == nil || !strings.Contains(err.Error(), "kcp-0.1") {
		t.Errorf("a kcp that nobody builds: %v", err)
	}
}

func TestWhatKCPHas(t *testing.T) {
	dir := t.TempDir()
	program := func(name, args, help string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n[ \"$*\" = '"+args+"' ] || exit 1\ncat <<'END'\n"+help+"END\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		return path
	}
	b := Binaries{
		KCP:           program("kcp", "start options", "      --mount-proxy-client-cert-file string   A file.\n      --feature-gates mapStringBool   Options are:\n   CacheAPIs\n   LogicalClusterMigration (default APIServerTracing=true,LogicalClusterMigration=false)\n"),
		KCPFrontProxy: program("kcp-front-proxy", "--help", "      --authentication-drop-groups strings   (default [system:masters,system:kcp:initializer:*])\n"),
	}
	if err := b.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.hasFlag("mount-proxy-client-cert-file") || b.hasFlag("mount-proxy-client-cert") || b.hasFlag("mount-proxy-client-key-file") {
		t.Error("flags")
	}
	if !b.HasGate("LogicalClusterMigration") || !b.HasGate("APIServerTracing") || b.HasGate("CacheAPIs") || b.HasGate("Migration") {
		t.Error("gates")
	}
	e := Environment{config: Config{Binaries: b}}
	if !e.ReentersMounts() || !e.Migrates() || !e.HasLifecycleGroups() || !slices.Equal(e.gates(), []string{"--feature-gates=LogicalClusterMigration=true"}) {
		t.Error("what it can do")
	}
	b.KCP = "/gone"
	if err := b.Ask(t.Context()); err == nil {
		t.Error("a kcp that cannot be asked")
	}
}
