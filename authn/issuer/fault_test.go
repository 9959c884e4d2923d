package issuer

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/egress"
)

// secretText is what a server says that owners of configurations must not read.
const secretText = "text-of-a-server"

func TestFaultsSayWhyInWordsOfOurs(t *testing.T) {
	stranger := issuertest.Serve(t, issuertest.Options{})
	answer := func(code int, body string) func(*issuertest.Issuer) {
		return func(i *issuertest.Issuer) {
			i.Handle(issuertest.DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
			})
		}
	}
	nothing := func(*issuertest.Issuer) {}
	for name, tc := range map[string]struct {
		set   func(*issuertest.Issuer)
		ref   func(*IssuerRef)
		guard *egress.Guard
		want  string
	}{
		"status":           {set: answer(http.StatusTeapot, secretText), want: "its discovery document: the server answers with HTTP status 418"},
		"not JSON":         {set: answer(http.StatusOK, secretText), want: "its discovery document: it is not JSON"},
		"another issuer's": {set: answer(http.StatusOK, `{"issuer":"https://`+secretText+`"}`), want: "its discovery document: it is the document of another issuer"},
		"redirect": {set: func(i *issuertest.Issuer) {
			i.Handle(issuertest.DiscoveryPath, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://"+secretText+".example/", http.StatusFound)
			})
		}, want: "its discovery document: the server redirects to another host"},
		"no jwks_uri": {set: func(i *issuertest.Issuer) {
			i.EditDiscovery(func(d map[string]any) { d["jwks_uri"] = "ftp://" + secretText })
		}, want: "its discovery document: its jwks_uri is not a usable https URL"},
		"no key set": {set: func(i *issuertest.Issuer) {
			i.Handle(issuertest.KeysPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(secretText)) })
		}, want: "its keys: the answer is not a key set (RFC 7517)"},
		"no usable key": {set: func(i *issuertest.Issuer) {
			i.Handle(issuertest.KeysPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) })
		}, want: "it publishes no usable key"},
		"unknown authority": {set: nothing, ref: func(r *IssuerRef) { r.CA = stranger.CAPEM() }, want: "its discovery document: the server's certificate is signed by an unknown authority; spec.jwt[].issuer.certificateAuthority names a CA"},
		"no such name":      {set: nothing, ref: func(r *IssuerRef) { r.DiscoveryURL = "https://nowhere.invalid/" }, want: "its discovery document: the server's name could not be resolved, or the operator of the proxy does not allow connections to its address"},
		"not allowed":       {set: nothing, guard: &egress.Guard{DenyCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}, want: "its discovery document: the server's name could not be resolved, or the operator of the proxy does not allow connections to its address"},
		"down":              {set: func(i *issuertest.Issuer) { i.SetDown(true) }, want: "its discovery document: the server could not be reached, or its answer could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			i := issuertest.Serve(t, issuertest.Options{})
			tc.set(i)
			ref := IssuerRef{URL: i.URL(), CA: i.CAPEM()}
			if tc.ref != nil {
				tc.ref(&ref)
			}
			config := Config{Egress: tc.guard}
			f, err := newFetcher(ref, config.withDefaults(), make(chan struct{}, 1))
			if err != nil {
				t.Fatal(err)
			}
			location, err := f.discover(t.Context())
			if err == nil {
				var keys *keySet
				if keys, err = f.keys(t.Context(), location); err == nil && len(keys.all) == 0 {
					err = errNoUsableKey
				}
			}
			kept := newFailure(err)
			if got := faultOf(err); got != tc.want || faultOf(kept) != got {
				t.Errorf("%v:\n%q and, as it is kept, %q, want\n%q", err, got, faultOf(kept), tc.want)
			}
			if errors.Is(kept, errNoUsableKey) != errors.Is(err, errNoUsableKey) {
				t.Errorf("%v is kept as %v", err, kept)
			}
			if strings.Contains(faultOf(err), secretText) {
				t.Error("the owner reads what a server said")
			}
		})
	}
	if got := faultOf(nil); got != "" {
		t.Errorf("no error: %q", got)
	}
}

// TestFailuresKeepLittle: what is kept of an error shares no memory with what a server sent.
func TestFailuresKeepLittle(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.Handle(issuertest.DiscoveryPath, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/"+strings.Repeat("x", 32<<10), http.StatusFound)
	})
	p := running(t, Config{})
	i := acquire(t, p, refOf(s))
	<-i.Attempted()
	i.mu.Lock()
	err := i.lastErr
	i.mu.Unlock()
	kept, ok := err.(*failure) //nolint:errorlint // what it is, not what it wraps
	if !ok || len(kept.text)+len(kept.words) > 1100 {
		t.Fatalf("%T is kept: %v", err, err)
	}
	if !strings.HasPrefix(kept.words, "its discovery document: ") || !strings.HasPrefix(kept.text, "discovery: ") {
		t.Errorf("%q and %q are kept", kept.words, kept.text)
	}
}

func TestKeysAreKnownSinceTheyWereFirstRead(t *testing.T) {
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	first := &keySet{ids: []string{"a", "b"}}
	first.remember(nil, start)
	second := &keySet{ids: []string{"b", "c"}}
	second.remember(first, start.Add(time.Hour))
	for id, want := range map[string]time.Time{"a": {}, "b": start, "c": start.Add(time.Hour)} {
		if got := second.since[id]; !got.Equal(want) {
			t.Errorf("%s since %v, want %v", id, got, want)
		}
	}
}
