package serviceaccount

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/jwks"
	"frontproxy/internal/polltest"
)

var _ Placement = (*index.Index)(nil)

// keyWorld is an Authenticator in front of stand-in shards that publish keys.
type keyWorld struct {
	t     *testing.T
	clock *clocktesting.FakeClock
	keys  *ShardKeys
	auth  *Authenticator

	mu       sync.Mutex
	listed   []*shards.Shard
	holder   map[string]any // by cluster: a shard's name, or an error
	previous map[string][]string
	gone     map[string]error // of accounts, by cluster
}

// newKeyWorld lists shards a and b, which have not been read.
func newKeyWorld(t *testing.T, change func(*Config)) (*keyWorld, *shardServer, *shardServer) {
	t.Helper()
	w := &keyWorld{t: t, clock: clocktesting.NewFakeClock(testNow), holder: map[string]any{}, previous: map[string][]string{}, gone: map[string]error{}}
	a, b := newShardServer(t), newShardServer(t)
	w.list("a", a.URL)
	w.list("b", b.URL)
	client := a.config()
	client.CAData = append(client.CAData, b.config().CAData...)
	var err error
	w.keys, err = NewShardKeys(ShardKeysConfig{Shards: w.shards, Client: client, Clock: w.clock, Log: klog.Logger{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.keys.client.http.CloseIdleConnections)
	c := Config{Issuers: []string{testIssuer}, FromShards: &ShardKeyVerifier{Keys: w.keys, Placement: w, Accounts: w}, Now: w.clock.Now}
	if change != nil {
		change(&c)
	}
	if w.auth, err = New(c); err != nil {
		t.Fatal(err)
	}
	return w, a, b
}

func (w *keyWorld) list(name, address string) {
	u, err := url.Parse(address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listed = slices.DeleteFunc(w.listed, func(s *shards.Shard) bool { return s.Name == name })
	w.listed = append(w.listed, &shards.Shard{Name: name, BaseURL: u})
}

func (w *keyWorld) shards() []*shards.Shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.listed)
}

// Holder implements Placement.
func (w *keyWorld) Holder(cluster string) (*shards.Shard, error) {
	switch at := w.holder[cluster].(type) {
	case error:
		return nil, at
	case string:
		for _, s := range w.shards() {
			if s.Name == at {
				return s, nil
			}
		}
	}
	return nil, index.ErrUnknown
}

// PreviousShards implements Placement.
func (w *keyWorld) PreviousShards(cluster string) []string { return w.previous[cluster] }

// ServiceAccount implements AccountGetter.
func (w *keyWorld) ServiceAccount(_ context.Context, cluster, _, _ string, _ bool) (Object, error) {
	return Object{UID: accountUID}, w.gone[cluster]
}

// Secret implements AccountGetter.
func (w *keyWorld) Secret(context.Context, string, string, string, bool) (Secret, error) {
	return Secret{}, ErrNotFound
}

// read does what Run does at a tick.
func (w *keyWorld) read() {
	for _, name := range w.keys.due() {
		w.keys.readOnce(w.t.Context(), name)
	}
}

// publishes makes a shard publish the keys.
func (s *shardServer) publishes(t *testing.T, keys ...crypto.Signer) {
	t.Helper()
	s.set(keysPath, keySetOf(keys...))
}

// keySetOf is an answer with the keys.
func keySetOf(keys ...crypto.Signer) func(http.ResponseWriter) {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: testKey(k).ID, Algorithm: testKey(k).algorithm(), Use: "sig"})
	}
	return body(http.StatusOK, string(must(json.Marshal(set))))
}

func (w *keyWorld) ask(raw string) error {
	_, _, err := authenticate(w.t.Context(), w.auth, raw)
	return err
}

// want is what Authenticate must say: "" accepts, "undecided", or a reason.
func (w *keyWorld) want(raw, want string) {
	w.t.Helper()
	err := w.ask(raw)
	got := ""
	var refusal *token.RefusalError
	switch {
	case errors.Is(err, ErrUndecided):
		got = "undecided"
	case errors.As(err, &refusal):
		got = string(refusal.Reason)
	case err != nil:
		got = "an error that says neither"
	}
	if got != want {
		w.t.Errorf("the token is judged %q (%v), want %q", got, err, want)
	}
}

func (w *keyWorld) tokenOf(key crypto.Signer) string {
	return sign(w.t, key, jose.SignatureAlgorithm(testKey(key).algorithm()), "own", must(json.Marshal(bound())))
}

func TestShardKeysAreTrustedForTheirOwnAccountsOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		holder any
		key    func() crypto.Signer
		kid    string
		want   string
	}{
		"holder's key":               {"a", func() crypto.Signer { return rsaKey() }, "own", ""},
		"holder's key, no id":        {"a", func() crypto.Signer { return rsaKey() }, "", ""},
		"another shard's key":        {"a", func() crypto.Signer { return p256() }, "own", "unknown_key"},
		"another shard's key, no id": {"a", func() crypto.Signer { return p256() }, "", "signature"},
		"nobody's key":               {"a", func() crypto.Signer { return otherRSA() }, "own", "unknown_key"},
		"nobody's key, holder's id":  {"a", func() crypto.Signer { return otherRSA() }, "a's", "signature"},
		"no such cluster":            {nil, func() crypto.Signer { return rsaKey() }, "own", "home_unknown"},
		"cluster on two shards":      {index.ErrConflict, func() crypto.Signer { return rsaKey() }, "own", "undecided"},
		"not all shards read":        {index.ErrNotSynced, func() crypto.Signer { return rsaKey() }, "own", "undecided"},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := newKeyWorld(t, nil)
			a.publishes(t, rsaKey())
			b.publishes(t, p256())
			w.holder[testHome] = tc.holder
			w.read()
			kid := tc.kid
			if kid == "a's" {
				kid = testKey(rsaKey()).ID
			}
			key := tc.key()
			w.want(sign(t, key, jose.SignatureAlgorithm(testKey(key).algorithm()), kid, must(json.Marshal(bound()))), tc.want)
		})
	}
}

func TestKeysBesideKeyFile(t *testing.T) {
	w, a, _ := newKeyWorld(t, func(c *Config) { c.Keys = NewKeySet(testKey(p384())) })
	a.publishes(t, rsaKey())
	w.read()
	w.holder[testHome] = "a"
	w.want(w.tokenOf(p384()), "") // the operator's key is trusted everywhere
	w.want(w.tokenOf(rsaKey()), "")
	w.want(w.tokenOf(p521()), "unknown_key")
	w.holder[testHome] = index.ErrConflict
	w.want(w.tokenOf(p384()), "")
	w.want(w.tokenOf(rsaKey()), "undecided") // remembered, but where it belongs is not known now
}

func TestKeysNeverRead(t *testing.T) {
	w, a, _ := newKeyWorld(t, nil)
	w.holder[testHome] = "a"
	a.set(keysPath, status(http.StatusForbidden, "Forbidden"))
	w.want(w.tokenOf(rsaKey()), "undecided")
	a.publishes(t, rsaKey())
	w.clock.Step(unreadKeys)
	w.want(w.tokenOf(rsaKey()), "") // asked by the token itself
	a.set(keysPath, status(http.StatusInternalServerError, "InternalError"))
	w.clock.Step(DefaultKeysPeriod)
	w.read()
	w.want(w.tokenOf(rsaKey()), "")          // what was read stays
	w.want(w.tokenOf(p256()), "unknown_key") // issued before the last good reading
	w.want(w.issuedNow(p256()), "undecided")
	forged := sign(t, otherRSA(), jose.SignatureAlgorithm(testKey(rsaKey()).algorithm()), testKey(rsaKey()).ID, must(json.Marshal(bound())))
	w.want(forged, "signature") // no newer key has that id
	got := w.keys.Status()[0]
	if got.Error == "" || !got.Read.Time.Equal(testNow.Add(unreadKeys)) || !slices.Equal(got.IDs, []string{testKey(rsaKey()).ID}) {
		t.Errorf("Status is %+v", got)
	}
}

func TestKeysRotate(t *testing.T) {
	w, a, _ := newKeyWorld(t, nil)
	w.holder[testHome] = "a"
	a.publishes(t, rsaKey())
	w.read()
	w.want(w.tokenOf(rsaKey()), "")
	a.publishes(t, rsaKey(), p256())
	w.want(w.tokenOf(p256()), "") // found at once by the unknown id
	a.publishes(t, p256())
	w.clock.Step(DefaultKeysPeriod)
	w.read()
	w.want(w.tokenOf(p256()), "")
	w.want(w.tokenOf(rsaKey()), "unknown_key") // though it was remembered
}

// issuedNow is a token that a shard would issue now.
func (w *keyWorld) issuedNow(key crypto.Signer) string {
	now := w.clock.Now().Unix()
	claims := with(bound(), object{"iat": now, "nbf": now})
	return sign(w.t, key, jose.SignatureAlgorithm(testKey(key).algorithm()), "own", must(json.Marshal(claims)))
}

// TestRetiredShardKeyDoesNotDelayANewOne: clients that still have tokens of a key
// that the shard has retired do not keep out those who have one of its new key.
func TestRetiredShardKeyDoesNotDelayANewOne(t *testing.T) {
	w, a, _ := newKeyWorld(t, nil)
	w.holder[testHome] = "a"
	a.publishes(t, rsaKey())
	retired := w.issuedNow(otherRSA())
	w.clock.Step(time.Minute)
	w.read()
	asked := a.asked.Load()
	for range 100 {
		w.want(retired, "unknown_key") // at once: issued before the last good reading
	}
	// The reading that they cause, in case the shard's clock is behind, is not waited for.
	w.awaitReading()
	if n := a.asked.Load() - asked; n > 1 {
		t.Errorf("100 tokens of a retired key made the shard be read %d times, want once at most", n)
	}
	a.publishes(t, p256())
	w.clock.Step(2 * time.Second)
	w.want(w.issuedNow(p256()), "")
	w.want(retired, "unknown_key")
}

// TestUnknownShardKeysShareReadings: made up key ids make a shard be read four
// times, then every ten seconds; meanwhile nobody is refused whose key may be new.
func TestUnknownShardKeysShareReadings(t *testing.T) {
	w, a, _ := newKeyWorld(t, nil)
	w.holder[testHome] = "a"
	a.publishes(t, rsaKey())
	w.read()
	asked := a.asked.Load()
	w.clock.Step(2 * time.Second)
	for n := range 100 {
		want := "undecided"
		if n < jwks.RefetchBurst {
			want = "unknown_key" // decided by a reading of its own
		}
		w.want(w.issuedNow(p521()), want)
	}
	if n := a.asked.Load() - asked; n != jwks.RefetchBurst {
		t.Errorf("100 tokens of an unknown key made the shard be read %d times, want %d", n, jwks.RefetchBurst)
	}
	a.publishes(t, p256())
	fresh := w.issuedNow(p256())
	w.want(fresh, "undecided") // never a 401, which would have its client throw it away
	w.clock.Step(jwks.RefetchEvery)
	w.want(fresh, "")
}

// awaitReading waits for a reading under way.
func (w *keyWorld) awaitReading() {
	w.keys.mu.Lock()
	r := w.keys.shards["a"].current
	w.keys.mu.Unlock()
	if r != nil {
		<-r.done
	}
}

// waiting tells when somebody waits for its end.
type waiting struct {
	context.Context
	once  sync.Once
	begun chan struct{}
}

func (w *waiting) Done() <-chan struct{} {
	w.once.Do(func() { close(w.begun) })
	return w.Context.Done()
}

// TestShardKeyIsDecidedByALaterReading: a reading that began before a token came
// may have missed its key.
func TestShardKeyIsDecidedByALaterReading(t *testing.T) {
	w, a, _ := newKeyWorld(t, nil)
	w.holder[testHome] = "a"
	a.publishes(t, rsaKey())
	w.read()
	w.clock.Step(2 * time.Second)
	arrived, leave := make(chan struct{}), make(chan struct{})
	old := keySetOf(rsaKey())
	a.set(keysPath, func(rw http.ResponseWriter) {
		close(arrived)
		<-leave
		old(rw)
	})
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { w.keys.readOnce(t.Context(), "a") })
	<-arrived
	a.publishes(t, p256())
	judged := make(chan error, 1)
	raw := w.issuedNow(p256())
	ctx := &waiting{Context: t.Context(), begun: make(chan struct{})}
	reading.Go(func() {
		_, _, err := authenticate(ctx, w.auth, raw)
		judged <- err
	})
	<-ctx.begun
	close(leave)
	if err := <-judged; err != nil {
		t.Errorf("the token is judged by a reading that began before it came: %v", err)
	}
}

func TestKeysOfComingAndGoingShards(t *testing.T) {
	w, a, b := newKeyWorld(t, nil)
	a.publishes(t, rsaKey())
	b.publishes(t, p256())
	w.read()
	w.holder[testHome] = "c"
	w.list("c", b.URL)
	w.clock.Step(keysTick)
	w.read()
	w.want(w.tokenOf(p256()), "")
	w.list("c", a.URL) // it has moved
	w.clock.Step(keysTick)
	w.read()
	w.want(w.tokenOf(rsaKey()), "")
	w.want(w.tokenOf(p256()), "unknown_key")
	w.mu.Lock()
	w.listed = w.listed[:2]
	w.mu.Unlock()
	w.read()
	var names []string
	for _, s := range w.keys.Status() {
		names = append(names, s.Shard)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("shards with keys (-want +got):\n%s", diff)
	}
}

func TestKeysAfterMigration(t *testing.T) {
	w, a, b := newKeyWorld(t, nil)
	a.publishes(t, rsaKey())
	b.publishes(t, p256())
	w.read()
	w.holder[testHome] = "a"
	raw := w.tokenOf(rsaKey())
	w.want(raw, "")
	w.holder[testHome] = "b"
	w.want(raw, "unknown_key") // remembered or not: nobody has seen a migration
	w.previous[testHome] = []string{"a"}
	w.want(raw, "")
	w.want(w.tokenOf(p256()), "")
	w.gone[testHome] = ErrNotFound
	w.want(raw, "account_gone")
	w.want(w.tokenOf(p256()), "") // lookup is off otherwise
	w.gone[testHome] = errors.New("the shard is down")
	w.want(raw, "undecided")
}

func TestRunReadsKeys(t *testing.T) {
	w, a, b := newKeyWorld(t, nil)
	a.publishes(t, rsaKey())
	b.set(keysPath, status(http.StatusServiceUnavailable, "ServiceUnavailable"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.keys.Run(ctx) }()
	await := func(what string, ok func() bool) {
		t.Helper()
		polltest.UntilState(t, what, func() (bool, string) { return ok(), fmt.Sprintf("%+v", w.keys.Status()) })
	}
	await("a to be read, b to fail", func() bool {
		s := w.keys.Status()
		return len(s) == 2 && s[0].IDs != nil && s[1].Error != ""
	})
	b.publishes(t, p256())
	await("the next tick", w.clock.HasWaiters)
	w.clock.Step(3 * time.Second) // a failed reading is tried again before its period is over
	await("b to be read", func() bool { return w.keys.Status()[1].IDs != nil })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestParseKeySet(t *testing.T) {
	rsa := jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "x"}
	for name, tc := range map[string]struct {
		text string
		want int // keys; 0: an error
	}{
		"keys":        {string(must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{rsa, {Key: p256().Public()}}}))), 2},
		"other kinds": {`{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new"},` + string(must(json.Marshal(rsa))) + `]}`, 1},
		"private key": {string(must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p256()}}}))), 0},
		"no keys":     {`{"keys":[]}`, 0},
		"no JWKS":     {`<html>`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseKeySet([]byte(tc.text))
			if (err == nil) != (tc.want > 0) || got != nil && len(got.all) != tc.want {
				t.Errorf("parseKeySet: %v, %v; want %d keys", got, err, tc.want)
			}
		})
	}
}
