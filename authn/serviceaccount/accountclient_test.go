package serviceaccount

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/index/shards"
)

// shardServer is a stand-in for a shard: a TLS server with objects by path.
type shardServer struct {
	*httptest.Server
	asked atomic.Int64

	mu      sync.Mutex
	answers map[string]func(http.ResponseWriter)
	paths   []string
	auth    []string
}

func newShardServer(t *testing.T) *shardServer {
	s := &shardServer{answers: map[string]func(http.ResponseWriter){}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		answer := s.answers[r.URL.Path]
		s.paths = append(s.paths, r.Method+" "+r.URL.RequestURI())
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		s.mu.Unlock()
		if answer == nil {
			answer = status(http.StatusNotFound, "NotFound")
		}
		answer(w)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shardServer) set(path string, answer func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer
}

func status(code int, reason string) func(http.ResponseWriter) {
	return body(code, fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code))
}

func body(code int, text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text))
	}
}

// config reaches the server as --shards-kubeconfig does.
func (s *shardServer) config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &rest.Config{BearerToken: "the-proxys-own", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

var _ Shards = (*index.Index)(nil)

// place says where clusters are.
type place map[string]any

func (p place) Holder(cluster string) (*shards.Shard, error) {
	switch at := p[cluster].(type) {
	case string:
		u, err := url.Parse(at)
		return &shards.Shard{Name: "s", BaseURL: u}, err
	case error:
		return nil, at
	}
	return nil, fmt.Errorf("%q: %w", cluster, index.ErrUnknown)
}

func newAccountClient(t *testing.T, s *shardServer, change func(*AccountClientConfig)) *AccountClient {
	t.Helper()
	c := AccountClientConfig{Shards: place{testHome: s.URL + "/base"}, Client: s.config()}
	if change != nil {
		change(&c)
	}
	h, err := NewAccountClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.http.CloseIdleConnections)
	return h
}

const (
	accountPath = "/base/clusters/" + testHome + "/api/v1/namespaces/default/serviceaccounts/bot"
	secretPath  = "/base/clusters/" + testHome + "/api/v1/namespaces/default/secrets/bot-token"
)

func TestAccountClientServiceAccount(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  func(http.ResponseWriter)
		shards  place // nil: the server
		want    Object
		wantErr error
		text    string // in an error that is neither
	}{
		"exists":             {answer: body(200, `{"kind":"ServiceAccount","metadata":{"name":"bot","uid":"u"}}`), want: Object{UID: "u"}},
		"is being deleted":   {answer: body(200, `{"metadata":{"uid":"u","deletionTimestamp":"2026-09-01T12:00:00Z"}}`), want: Object{UID: "u", Deleted: true}},
		"is gone":            {wantErr: ErrNotFound},
		"404 of no API":      {answer: body(404, "404 page not found"), text: "404"},
		"404, another kind":  {answer: status(404, "Unknown"), text: "404"},
		"forbidden":          {answer: status(403, "Forbidden"), text: "--shards-kubeconfig"},
		"unauthorized":       {answer: status(401, "Unauthorized"), text: "401"},
		"failing":            {answer: status(500, "InternalError"), text: "500"},
		"redirected":         {answer: func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, text: "302"},
		"no JSON":            {answer: body(200, "<html>"), text: "not an object"},
		"no object":          {answer: body(200, "{}"), text: "without uid"},
		"too large":          {answer: body(200, strings.Repeat(" ", maxObject+1)), text: "more than"},
		"cut off":            {answer: func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); w.WriteHeader(200) }, text: "read the shard's answer"},
		"home is unknown":    {shards: place{}, wantErr: ErrHomeUnknown},
		"home is not synced": {shards: place{testHome: index.ErrNotSynced}, text: "not all shards"},
		"shard is down":      {shards: place{testHome: "https://127.0.0.1:1"}, text: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShardServer(t)
			if tc.answer != nil {
				s.set(accountPath, tc.answer)
			}
			h := newAccountClient(t, s, func(c *AccountClientConfig) {
				if tc.shards != nil {
					c.Shards = tc.shards
				}
			})
			got, err := h.ServiceAccount(t.Context(), testHome, "default", "bot", false)
			switch {
			case tc.wantErr != nil:
				if !errors.Is(err, tc.wantErr) {
					t.Fatalf("error %v, want %v", err, tc.wantErr)
				}
			case tc.text != "":
				if err == nil || !strings.Contains(err.Error(), tc.text) {
					t.Fatalf("error %v, want one with %q", err, tc.text)
				}
				if errors.Is(err, ErrNotFound) || errors.Is(err, ErrHomeUnknown) {
					t.Fatalf("%v is taken for an answer", err)
				}
			case err != nil:
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccountClientSecret(t *testing.T) {
	s := newShardServer(t)
	h := newAccountClient(t, s, nil)
	token := base64.StdEncoding.EncodeToString([]byte("the token"))
	s.set(secretPath, body(200, `{"metadata":{"uid":"u","labels":{"kubernetes.io/legacy-token-invalid-since":"2026-08-01"}},"data":{"token":"`+token+`","ca.crt":"eA=="}}`))
	got, err := h.Secret(t.Context(), testHome, "default", "bot-token", false)
	if err != nil {
		t.Fatal(err)
	}
	want := Secret{Object: Object{UID: "u"}, TokenHash: sha256.Sum256([]byte("the token")), InvalidSince: "2026-08-01"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff([]string{"GET " + secretPath}, s.paths); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Bearer the-proxys-own"}, s.auth); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
}

func TestAccountClientKeepsAnswers(t *testing.T) {
	s := newShardServer(t)
	clk := clocktesting.NewFakePassiveClock(testNow)
	where := place{testHome: s.URL + "/base"}
	h := newAccountClient(t, s, func(c *AccountClientConfig) { c.Clock, c.Grace, c.Shards = clk, 10*time.Second, where })
	s.set(accountPath, body(200, `{"metadata":{"uid":"one"}}`))
	step := func(after time.Duration, recent bool, wantUID string, wantErr, wantAsked int) {
		t.Helper()
		clk.SetTime(testNow.Add(after))
		before := s.asked.Load()
		got, err := h.ServiceAccount(t.Context(), testHome, "default", "bot", recent)
		if got.UID != wantUID || (err != nil) != (wantErr > 0) {
			t.Errorf("after %s: %q, %v", after, got.UID, err)
		}
		if n := s.asked.Load() - before; n != int64(wantAsked) {
			t.Errorf("after %s: asked %d times, want %d", after, n, wantAsked)
		}
	}
	step(0, false, "one", 0, 1)
	step(4*time.Second, false, "one", 0, 0)
	s.set(accountPath, body(200, `{"metadata":{"uid":"two"}}`))
	step(4*time.Second, true, "two", 0, 1) // recent
	step(4500*time.Millisecond, true, "two", 0, 0)
	step(8*time.Second, false, "two", 0, 0)
	step(9*time.Second, false, "two", 0, 1)
	// The shard is down: the last answer counts through the grace, and the shard
	// is asked once a second.
	s.set(accountPath, status(503, "ServiceUnavailable"))
	step(14*time.Second, false, "two", 0, 1)
	step(14500*time.Millisecond, false, "two", 0, 0)
	step(14500*time.Millisecond, true, "", 1, 0)
	step(23*time.Second, false, "two", 0, 1)
	step(24*time.Second, false, "", 1, 1)
	step(24500*time.Millisecond, false, "", 1, 0)
	// It is back, and the account gone: kept too.
	s.set(accountPath, nil)
	step(26*time.Second, false, "", 1, 1)
	step(27*time.Second, false, "", 1, 0)
	if _, err := h.ServiceAccount(t.Context(), testHome, "default", "bot", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want not found", err)
	}
	// The cluster moves: another shard's answers count for nothing.
	where[testHome] = s.URL + "/new"
	s.set("/new"+strings.TrimPrefix(accountPath, "/base"), body(200, `{"metadata":{"uid":"three"}}`))
	step(27*time.Second, false, "three", 0, 1)
}

func TestAccountClientAsksOnceAtATime(t *testing.T) {
	s := newShardServer(t)
	arrived, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.set(accountPath, func(w http.ResponseWriter) {
		once.Do(func() { close(arrived) })
		<-leave
		body(200, `{"metadata":{"uid":"u"}}`)(w)
	})
	h := newAccountClient(t, s, nil)
	var wg sync.WaitGroup
	ask := func(ctx context.Context, check func(Object, error)) {
		wg.Go(func() { check(h.ServiceAccount(ctx, testHome, "default", "bot", false)) })
	}
	// The first asker gives up; its question must not fail the others.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	ask(ctx, func(_ Object, err error) {
		defer close(gone)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the caller's", err)
		}
	})
	<-arrived
	for range 20 {
		ask(t.Context(), func(o Object, err error) {
			if err != nil || o.UID != "u" {
				t.Errorf("%v, %v", o, err)
			}
		})
	}
	cancel()
	<-gone
	close(leave)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestNewAccountClientErrors(t *testing.T) {
	for name, c := range map[string]AccountClientConfig{
		"no shards": {Client: &rest.Config{}},
		"no client": {Shards: place{}},
		"bad CA":    {Shards: place{}, Client: &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: "/missing/ca.crt"}}},
	} {
		if _, err := NewAccountClient(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The whole way: a token, its keys, its home.
func TestAuthenticateWithAccountClient(t *testing.T) {
	s := newShardServer(t)
	raw := tokenOf(t, legacy())
	s.set(accountPath, body(200, `{"metadata":{"uid":"`+accountUID+`"}}`))
	s.set(secretPath, body(200, `{"metadata":{"uid":"x"},"data":{"token":"`+base64.StdEncoding.EncodeToString([]byte(raw))+`"}}`))
	clk := clocktesting.NewFakePassiveClock(testNow)
	a := newTest(t, func(c *Config) { c.Accounts = newAccountClient(t, s, func(h *AccountClientConfig) { h.Clock = clk }) })
	if _, _, err := authenticate(t.Context(), a, raw); err != nil {
		t.Fatal(err)
	}
	s.set(secretPath, body(200, `{"metadata":{"uid":"x"},"data":{"token":"eA=="}}`))
	clk.SetTime(testNow.Add(DefaultFresh))
	_, _, err := authenticate(t.Context(), a, raw)
	assertRefused(t, raw, err, token.ReasonRevoked)
}
