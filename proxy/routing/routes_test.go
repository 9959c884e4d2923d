package routing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"frontproxy/index"
	"frontproxy/proxy/routing/routingtest"

	testingclock "k8s.io/utils/clock/testing"
)

// What a changed mapping file does, step by step; cmd/front-proxy's
// TestNothingIsLost does it under load.
func TestReloadMappings(t *testing.T) {
	w, clk := routingtest.NewFiles(t), testingclock.NewFakeClock(time.Now())
	file := filepath.Join(t.TempDir(), "mapping.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(w.In(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(routingtest.ShardsMapping)
	p, err := New(Config{Mappings: mappings(t, w, routingtest.ShardsMapping), MappingFile: file, Clock: clk, Index: nothing{}})
	if err != nil {
		t.Fatal(err)
	}
	first := p.current.Load()
	routingtest.Settle(t, p.file, clk)
	if p.current.Load() != first || p.file.LastError() != nil {
		t.Fatalf("an unchanged file is a change: %v", p.file.LastError())
	}
	other := "- path: /other/\n  backend: https://other.invalid" + routingtest.TLSEntry
	write(routingtest.ShardsMapping + other)
	routingtest.Settle(t, p.file, clk)
	second := p.current.Load()
	if m, _ := second.mappings.find("/other/x"); m == nil {
		t.Error("the new entry is not used")
	}
	shards := first.mappings.entries[0].tls
	if second.upstreams[shards] != first.upstreams[shards] {
		t.Error("an upstream with the same files does not go on with its connections")
	}
	for name, bad := range map[string]string{
		"no YAML": "\tx", "no entry": routingtest.ShardsMapping + "- x\n", "a file that is not there": routingtest.ShardsMapping + strings.ReplaceAll(other, "DIR/ca.crt", "DIR/none.crt"),
	} {
		write(bad)
		routingtest.Settle(t, p.file, clk)
		if p.current.Load() != second {
			t.Errorf("%s: the last good mappings are gone", name)
		}
		routingtest.Settle(t, p.file, clk) // a file that it names
		if err := p.file.LastError(); err == nil || !strings.Contains(err.Error(), "mapping file "+file) {
			t.Errorf("%s: the error is %v, want it to name the file", name, err)
		}
	}
	write("")
	routingtest.Settle(t, p.file, clk)
	if err := p.file.LastError(); p.current.Load() != second || err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an emptied file: %v", err)
	}
	// The file that was missing comes: the next check finds it, though the mapping
	// file has not changed.
	write(strings.ReplaceAll(routingtest.ShardsMapping, "DIR/ca.crt", "DIR/late.crt"))
	routingtest.Settle(t, p.file, clk)
	routingtest.Settle(t, p.file, clk)
	if p.file.LastError() == nil {
		t.Fatal("a CA that is not there is no error")
	}
	if err := os.WriteFile(filepath.Join(w.Dir, "late.crt"), w.Serving.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	routingtest.Settle(t, p.file, clk)
	if err := p.file.LastError(); err != nil {
		t.Errorf("the CA is there now: %v", err)
	}
}

// A proxy that was started without shards cannot get them by a file: nothing
// reads them.
func TestReloadNeedsAnIndex(t *testing.T) {
	w, clk := routingtest.NewFiles(t), testingclock.NewFakeClock(time.Now())
	file := filepath.Join(w.Dir, "mapping.yaml")
	p, err := New(Config{Mappings: mappings(t, w, "- path: /x/\n  backend: https://x.invalid"+routingtest.TLSEntry), MappingFile: file, Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(w.In(routingtest.ShardsMapping)), 0o600); err != nil {
		t.Fatal(err)
	}
	routingtest.Settle(t, p.file, clk)
	if err := p.file.LastError(); err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("the error is %v", err)
	}
}

// nothing is an index without clusters.
type nothing struct{}

func (nothing) Lookup(string) (index.Target, error) { return index.Target{}, index.ErrUnknown }

func mappings(t testing.TB, files *routingtest.Files, text string) *Mappings {
	t.Helper()
	m, err := LoadMappings("mapping.yaml", []byte(files.In(text)), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
