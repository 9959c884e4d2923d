package issuer

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/polltest"
)

// TestKeySetsAreBounded: an owner's issuers can't publish so many keys that there is no
// memory for others', and a set of usual size is kept whatever others do.
func TestKeySetsAreBounded(t *testing.T) {
	p := NewPool(Config{})
	var releases []func()
	issuerOf := func(owner string) *Issuer {
		i, release, err := p.Acquire(IssuerRef{URL: fmt.Sprintf("https://issuer.example/%d", len(releases))}, owner)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
		return i
	}
	const size = smallKeySet + 1<<20
	fill := func(owner string) (n int) {
		for p.keep(issuerOf(owner), size) {
			n++
		}
		return n
	}
	free := largeKeySets >> 20
	for n := range 4 {
		got := fill(fmt.Sprint("owner ", n))
		if got != free/2 {
			t.Errorf("owner %d keeps %d MiB of %d that are free", n, got, free)
		}
		free -= got
	}
	if !p.keep(issuerOf("usual"), smallKeySet) || !p.keep(issuerOf("large"), smallKeySet+256<<10) {
		t.Error("there is no room for another owner")
	}
	var charged int
	for _, bytes := range p.large.ofOwners {
		charged += bytes
	}
	if p.large.all > largeKeySets || p.large.all != charged {
		t.Errorf("%d bytes are charged, %d to owners, of %d", p.large.all, charged, largeKeySets)
	}
	for _, release := range releases {
		release()
	}
	if p.large.all != 0 || len(p.large.ofOwners) != 0 {
		t.Errorf("%d bytes are charged without an issuer: %v", p.large.all, p.large.ofOwners)
	}
}

// TestChargesForKeySetsAddUp: whoever uses an issuer, shares it or stops using it, and whatever it
// publishes, each key set is charged to one of its owners.
func TestChargesForKeySetsAddUp(t *testing.T) {
	p := NewPool(Config{})
	random := rand.New(rand.NewPCG(1, 2))
	type use struct {
		i       *Issuer
		release func()
	}
	var uses []use
	for step := range 20_000 {
		switch {
		case len(uses) < 10 || len(uses) < 60 && random.IntN(3) == 0:
			i, release, err := p.Acquire(IssuerRef{URL: fmt.Sprintf("https://issuer.example/%d", random.IntN(20))}, fmt.Sprint(random.IntN(5)))
			if err != nil {
				t.Fatal(err)
			}
			uses = append(uses, use{i, release})
		case random.IntN(3) == 0:
			n := random.IntN(len(uses))
			uses[n].release()
			uses[n] = uses[len(uses)-1]
			uses = uses[:len(uses)-1]
		default:
			i := uses[random.IntN(len(uses))].i
			before, want := i.use.charged, random.IntN(8<<20)
			kept := p.keep(i, want)
			if after := max(want-smallKeySet, 0); kept && i.use.charged != after || !kept && i.use.charged != before {
				t.Fatalf("step %d: %d bytes are charged for a set of %d (kept: %v), %d before", step, i.use.charged, want, kept, before)
			}
		}
		all, owners := 0, map[string]int{}
		for _, i := range p.issuers {
			if all += i.use.charged; i.use.charged > 0 {
				owners[i.use.payer] += i.use.charged
				if i.use.owners[i.use.payer] == 0 {
					t.Fatalf("step %d: %q pays and does not use the issuer", step, i.use.payer)
				}
			}
		}
		if all != p.large.all || all > largeKeySets || fmt.Sprint(owners) != fmt.Sprint(p.large.ofOwners) {
			t.Fatalf("step %d: %d bytes are charged, %v; issuers have %d, %v", step, p.large.all, p.large.ofOwners, all, owners)
		}
	}
}

// TestSizesOfKeySetsAreNotTooLow: what sets are charged is at least the memory that they take.
func TestSizesOfKeySetsAreNotTooLow(t *testing.T) {
	number := func(bits int) string {
		n := make([]byte, bits/8)
		n[0], n[len(n)-1] = 0x80, 1
		return base64.RawURLEncoding.EncodeToString(n)
	}
	key := func(id string, bits int) string {
		return fmt.Sprintf(`{"kty":"RSA","e":"AQAB","kid":%q,"n":%q}`, id, number(bits))
	}
	set := func(keys int, of func(n int) string) []byte {
		var all []string
		for n := range keys {
			all = append(all, of(n))
		}
		return []byte(`{"keys":[` + strings.Join(all, ",") + `]}`)
	}
	for name, body := range map[string][]byte{
		"a usual one": set(2, func(n int) string { return key(fmt.Sprint("key-", n), minRSABits) }),
		"many keys":   set(30, func(n int) string { return key(fmt.Sprint(n), minRSABits) }),
		"large keys":  set(30, func(n int) string { return key(fmt.Sprint(n), maxRSABits) }),
		"long ids":    set(30, func(n int) string { return key(strings.Repeat(fmt.Sprint(n%10), 1<<10), minRSABits) }),
		"one long id": set(1, func(int) string { return key(strings.Repeat("x", 64<<10), minRSABits) }),
		"no ids":      set(30, func(int) string { return key("", minRSABits) }),
		"ignored keys": set(30, func(int) string {
			return `{"kty":"` + strings.Repeat("x", 1<<10) + `","kid":"` + strings.Repeat("y", 100) + `"}`
		}),
		"of a long use": set(30, func(n int) string {
			return strings.TrimSuffix(key(fmt.Sprint(n), minRSABits), "}") + `,"use":"` + strings.Repeat("u", 1<<10) + `"}`
		}),
	} {
		const sets = 8
		takes, charged := memoryOf(t, body, sets)
		for tries := 0; takes > charged+sets<<10 && tries < 5; tries++ { // what earlier tests left running may allocate, too
			takes, charged = memoryOf(t, body, sets)
		}
		if takes > charged+sets<<10 {
			t.Errorf("%s: a set takes %d bytes and is charged %d", name, takes/sets, charged/sets)
		}
	}
}

// memoryOf returns what a number of sets add to the heap, and what they are charged.
func memoryOf(t *testing.T, body []byte, sets int) (takes, charged int) {
	t.Helper()
	kept := make([]*keySet, 0, sets)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range sets {
		s, err := parseKeys(body)
		if err != nil {
			t.Fatal(err)
		}
		s.remember(nil, s.since[""])
		kept, charged = append(kept, s), charged+s.size
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return int(after.HeapAlloc) - int(before.HeapAlloc), charged //nolint:gosec // of this process
}

// TestKeySetWithoutRoomIsNotUsed: those of its keys that were read before stay in use, and the owner reads why.
func TestKeySetWithoutRoomIsNotUsed(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	clock, p, i := ready(t, s)
	p.mu.Lock()
	p.large.all = largeKeySets // of others
	p.mu.Unlock()
	published := httptest.NewRecorder()
	s.ServeHTTP(published, httptest.NewRequest(http.MethodGet, issuertest.KeysPath, nil))
	s.Handle(issuertest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, strings.Replace(published.Body.String(), "[", "["+largeKey+",", 1))
	})
	polltest.Until(t, "the set has been refused", func() bool {
		clock.Step(RefreshPeriod) // again if it came before the first reading had ended
		return p.statusOf(s.URL()).State == Failing
	})
	if got, want := p.statusOf(s.URL()).Fault, "its keys: the key set is too large beside those of the owner's other issuers"; got != want {
		t.Errorf("the owner reads %q, want %q", got, want)
	}
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Errorf("a token of a key that was read before: %v", err)
	}
}

// TestSmallerKeySetsHaveRoom: whatever others take, a set that takes no more than the one before it is kept,
// because keys may have been withdrawn.
func TestSmallerKeySetsHaveRoom(t *testing.T) {
	p := NewPool(Config{})
	acquired := 0
	issuerOf := func(owner string) *Issuer {
		acquired++
		i, _, err := p.Acquire(IssuerRef{URL: fmt.Sprintf("https://issuer.example/%d", acquired)}, owner)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	small, large := issuerOf("small"), issuerOf("large")
	if !p.keep(small, smallKeySet+4<<10) || !p.keep(large, smallKeySet+1<<20) {
		t.Fatal("there is no room at first")
	}
	for p.keep(issuerOf("large"), smallKeySet+1<<20) {
		continue
	}
	for owner := range 40 {
		for size := 1 << 20; size >= 64; size /= 2 {
			for p.keep(issuerOf(fmt.Sprint(owner)), smallKeySet+size) {
				continue
			}
		}
	}
	for _, tt := range []struct {
		of     *Issuer
		beyond int
		want   bool
	}{{small, 4<<10 + 256, false}, {small, 4 << 10, true}, {small, 1 << 10, true}, {large, 512 << 10, true}, {large, 0, true}} {
		if got := p.keep(tt.of, smallKeySet+tt.beyond); got != tt.want {
			t.Errorf("%d bytes beyond the usual size are kept: %v", tt.beyond, got)
		}
	}
}

// TestKeysAreWithdrawnWithoutRoom: a set for which there is no room still says which keys are valid no more.
func TestKeysAreWithdrawnWithoutRoom(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	clock, p, i := ready(t, s)
	token, generation := s.Sign(nil), i.Generation()
	p.mu.Lock()
	p.large.all = largeKeySets // of others
	p.mu.Unlock()
	s.Handle(issuertest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, largeKey)
	})
	polltest.Until(t, "the set has been refused", func() bool {
		clock.Step(RefreshPeriod) // again if it came before the first reading had ended
		return p.statusOf(s.URL()).State == Failing
	})
	if err := verify(i, token); err == nil || i.Generation() == generation {
		t.Errorf("a token of a key that was withdrawn: %v, generation %d after %d", err, i.Generation(), generation)
	}
}

// largeKey is a key that has no room in a usual set.
var largeKey = fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`, strings.Repeat("x", 512<<10))

func (p *Pool) statusOf(url string) (found Status) {
	for _, s := range p.Status() {
		if s.URL == url {
			found = s
		}
	}
	return found
}

// TestWithdrawnKeysLeaveTheirRoom: an issuer whose set was refused may still publish one that is as large as the last
// that it had, although some of its keys have been withdrawn meanwhile.
func TestWithdrawnKeysLeaveTheirRoom(t *testing.T) {
	set := func(from, to int) *keySet {
		var keys []string
		for n := from; n < to; n++ {
			keys = append(keys, strings.Replace(largeKey, strings.Repeat("x", 512<<10), fmt.Sprint(strings.Repeat("x", 4<<10), 100+n), 1))
		}
		s, err := parseKeys([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`))
		if err != nil || len(s.all) != to-from {
			t.Fatal(err, s)
		}
		return s
	}
	p := NewPool(Config{})
	i, release, err := p.Acquire(IssuerRef{URL: "https://issuer.example"}, "owner")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	old, larger, next := set(0, 10), set(2, 13), set(3, 13)
	if !p.keep(i, old.size) {
		t.Fatal("there is no room at first")
	}
	i.publish(old)
	p.large.all = largeKeySets // of others
	if p.keep(i, larger.size) {
		t.Fatal("a larger set has room")
	}
	i.withdraw(larger)
	if n := len(i.keys.Load().all); n != 8 {
		t.Errorf("%d keys are left, want 8", n)
	}
	if !p.keep(i, next.size) {
		t.Error("a set of the size of the first has no room")
	}
}
