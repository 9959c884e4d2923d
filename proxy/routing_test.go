package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/internal/filewatch"
)

// settle lets what stands in f's files now settle.
func settle[T any](t *testing.T, f *filewatch.File[T], clk *testingclock.FakeClock) {
	t.Helper()
	f.Look(t.Context())
	clk.Step(filewatch.Settle)
	f.Look(t.Context())
}

// What a changed mapping file does, step by step; cmd/front-proxy's
// TestNothingIsLost does it under load.
func TestReloadMappings(t *testing.T) {
	w, clk := newWorld(t), testingclock.NewFakeClock(time.Now())
	file := filepath.Join(t.TempDir(), "mapping.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", w.dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(usualMapping)
	p, err := New(Config{Routing: RouterConfig{Mappings: w.mappings(t, usualMapping), MappingFile: file, Clock: clk, Index: w.index}, Decider: deciderFunc(w.decide)})
	if err != nil {
		t.Fatal(err)
	}
	first := p.router.current.Load()
	settle(t, p.router.file, clk)
	if p.router.current.Load() != first || p.router.file.LastError() != nil {
		t.Fatalf("an unchanged file is a change: %v", p.router.file.LastError())
	}
	other := "- path: /other/\n  backend: https://other.invalid" + tlsEntry
	write(usualMapping + other)
	settle(t, p.router.file, clk)
	second := p.router.current.Load()
	if m, _ := second.mappings.find(&segments{rest: "/other/x"}); m == nil {
		t.Error("the new entry is not used")
	}
	shards := first.mappings.entries[0].tls
	if second.upstreams[shards] != first.upstreams[shards] {
		t.Error("an upstream with the same files does not go on with its connections")
	}
	for name, bad := range map[string]string{
		"no YAML": "\tx", "no entry": usualMapping + "- x\n", "a file that is not there": usualMapping + strings.ReplaceAll(other, "DIR/ca.crt", "DIR/none.crt"),
	} {
		write(bad)
		settle(t, p.router.file, clk)
		if p.router.current.Load() != second {
			t.Errorf("%s: the last good mappings are gone", name)
		}
		settle(t, p.router.file, clk) // a file that it names
		if err := p.router.file.LastError(); err == nil || !strings.Contains(err.Error(), "mapping file "+file) {
			t.Errorf("%s: the error is %v, want it to name the file", name, err)
		}
	}
	write("")
	settle(t, p.router.file, clk)
	if err := p.router.file.LastError(); p.router.current.Load() != second || err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an emptied file: %v", err)
	}
	// The file that was missing comes: the next look finds it, though the mapping
	// file has not changed.
	write(strings.ReplaceAll(usualMapping, "DIR/ca.crt", "DIR/late.crt"))
	settle(t, p.router.file, clk)
	settle(t, p.router.file, clk)
	if p.router.file.LastError() == nil {
		t.Fatal("a CA that is not there is no error")
	}
	if err := os.WriteFile(filepath.Join(w.dir, "late.crt"), w.serving.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	settle(t, p.router.file, clk)
	if err := p.router.file.LastError(); err != nil {
		t.Errorf("the CA is there now: %v", err)
	}
}

// A proxy that was started without shards cannot get them by a file: nothing
// reads them.
func TestReloadNeedsAnIndex(t *testing.T) {
	w, clk := newWorld(t), testingclock.NewFakeClock(time.Now())
	file := filepath.Join(w.dir, "mapping.yaml")
	p, err := New(Config{Routing: RouterConfig{Mappings: w.mappings(t, "- path: /x/\n  backend: https://x.invalid"+tlsEntry), MappingFile: file, Clock: clk}, Decider: deciderFunc(w.decide)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(usualMapping, "DIR", w.dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	settle(t, p.router.file, clk)
	if err := p.router.file.LastError(); err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("the error is %v", err)
	}
}
