package issuer

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/polltest"
)

// tunnels serves CONNECT and counts it.
func tunnels(t *testing.T) (proxy *url.URL, opened *atomic.Int64) {
	t.Helper()
	opened = &atomic.Int64{}
	var wg sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		opened.Add(1)
		w.WriteHeader(http.StatusOK)
		here, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			_ = there.Close()
			return
		}
		pipe := func(to io.WriteCloser, from io.Reader) {
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}
		wg.Go(func() { pipe(there, buffered) })
		wg.Go(func() { pipe(here, there) })
	}))
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	location, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return location, opened
}

func TestProxy(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	location, opened := tunnels(t)
	i := acquire(t, running(t, Config{Proxy: http.ProxyURL(location)}), refOf(s))
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(int64(2), opened.Load()); diff != "" { // the document and the keys
		t.Errorf("tunnels (-want +got):\n%s", diff)
	}
}

// The log has a line for each change of state, not for each attempt.
func TestLogsChangesOfState(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	count := func(text string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, text) {
				n++
			}
		}
		return n
	}
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, args)
	}, funcr.Options{Verbosity: 2})
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDown(true)
	clock := clocktesting.NewFakeClock(time.Now())
	i := acquire(t, running(t, Config{Clock: clock, Log: log}), refOf(s))
	attempts := func() time.Time {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.current != nil {
			return time.Time{}
		}
		return i.lastStart
	}
	next := func(what string) {
		polltest.Until(t, "it pauses", func() bool { return clock.HasWaiters() && !attempts().IsZero() })
		before := attempts()
		clock.Step(2 * RefreshPeriod)
		polltest.Until(t, what, func() bool { return attempts().After(before) })
	}
	for range 5 {
		next("another failure")
	}
	if n := count("Could not read"); n != 1 {
		t.Errorf("%d lines of 6 failures, want 1: %q", n, lines)
	}
	s.SetDown(false)
	next("it is read")
	s.SetDown(true)
	next("it fails again")
	if diff := cmp.Diff([2]int{2, 1}, [2]int{count("Could not read"), count("ready")}); diff != "" {
		t.Errorf("lines of failing and ready (-want +got):\n%s\n%q", diff, lines)
	}
}

// TestOperatorsIssuersMayRedirect: to another host, as in kube, but never away from
// https and not for ever.
func TestOperatorsIssuersMayRedirect(t *testing.T) {
	for name, tc := range map[string]struct {
		anywhere bool
		to       func(there *issuertest.Issuer) string
		want     string // in the error; "" means that it works
	}{
		"operator's":      {true, func(there *issuertest.Issuer) string { return there.KeysURL() }, ""},
		"tenant's":        {false, func(there *issuertest.Issuer) string { return there.KeysURL() }, "redirect to another host"},
		"away from https": {true, func(there *issuertest.Issuer) string { return "http" + strings.TrimPrefix(there.KeysURL(), "https") }, "away from https"},
		"round and round": {true, func(there *issuertest.Issuer) string { return there.URL() + "/round" }, "more than 10 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
			here.Handle(issuertest.KeysPath, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, tc.to(there), http.StatusFound) })
			there.Handle("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
			i := acquire(t, running(t, Config{AnyRedirect: tc.anywhere}), IssuerRef{URL: here.URL(), CA: here.CAPEM() + there.CAPEM()})
			err := verify(i, there.Sign(nil))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
