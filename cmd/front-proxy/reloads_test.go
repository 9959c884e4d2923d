package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"frontproxy/e2e/harness"
	"frontproxy/proxy/zpages"
)

// replace renames a new file to name, as a program does that writes certificates.
func replace(t *testing.T, name string, text []byte) {
	t.Helper()
	next := name + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
}

// ownPair is a copy of a pair whose files the test may replace.
func ownPair(t *testing.T, pair harness.KeyPair) harness.KeyPair {
	t.Helper()
	dir := t.TempDir()
	pair.CertFile, pair.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	replace(t, pair.CertFile, pair.Cert)
	replace(t, pair.KeyFile, pair.Key)
	return pair
}

// TestStatuszListsEveryFailedReload: whatever files cannot be used, and why.
func TestStatuszListsEveryFailedReload(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Forwarding = ownPair(t, k.Forwarding)
	host := newMountedHost(t, "mounted")
	mounted, err := host.clients.Client(t.TempDir(), "front-proxy")
	if err != nil {
		t.Fatal(err)
	}
	mounted = ownPair(t, mounted)
	hosts := filepath.Join(t.TempDir(), "hosts.yaml")
	replace(t, hosts, []byte(host.entry(t, "/a", "")+host.entry(t, "/b", "")+"  proxy_client_cert: "+mounted.CertFile+"\n  proxy_client_key: "+mounted.KeyFile+"\n"))
	args, url := arguments(t, k)
	debug := "unix://" + filepath.Join(t.TempDir(), "debug.sock")
	startProxy(t, k, url, append(args, "--mount-hosts-file="+hosts, "--debug-address="+debug))
	failed := func() map[string]string {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/statusz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "application/json")
		resp, err := newDebugClient(debug).client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var page zpages.Statusz
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		return page.Status.FailedReloads
	}
	stranger, err := k.ClientCA.Client(t.TempDir(), "stranger")
	if err != nil {
		t.Fatal(err)
	}
	replace(t, k.Forwarding.CertFile, stranger.Cert)
	replace(t, mounted.CertFile, stranger.Cert)
	want := map[string]string{
		"mapping-file /clusters/": "private key does not match public key",
		"mount-hosts-file":        "private key does not match public key",
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, missing := failed(), ""
		for source, why := range want {
			if !strings.Contains(got[source], why) {
				missing += source + ": " + why + "\n"
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("statusz lacks\n%sit has %q", missing, got)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestExpiredPairIsWarnedOf: not only at the start, also when it is swapped in.
func TestExpiredPairIsWarnedOf(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Forwarding = ownPair(t, k.Forwarding)
	args, url := arguments(t, k)
	startProxy(t, k, url, args)
	expired, err := k.RequestHeaderCA.ClientUntil(t.TempDir(), "swapped-and-expired", time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, k.Forwarding.KeyFile, expired.Key)
	replace(t, k.Forwarding.CertFile, expired.Cert)
	logged(t, "A certificate has expired", `source="mapping-file /clusters/"`, `role="client"`, "swapped-and-expired")
}
