package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/index"
)

// named are n different texts of so many bytes at least.
func named(n, size int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%0*d", size, i)
	}
	return out
}

func TestIdentitiesAreBounded(t *testing.T) {
	keys := func(n int) map[string][]string {
		out := map[string][]string{}
		for _, key := range named(n, 4) {
			out[key] = []string{"v"}
		}
		return out
	}
	for name, tc := range map[string]struct {
		user    user.DefaultInfo
		refused string // by both limits; empty: by none
	}{
		"Entra ID":          {user: user.DefaultInfo{Name: "alice@example.com", Groups: named(200, 36)}},
		"300 long names":    {user: user.DefaultInfo{Name: "alice", Groups: named(300, 200)}},
		"as many as taken":  {user: user.DefaultInfo{Name: "alice", Groups: named(1024, 60), Extra: keys(64)}},
		"long name":         {user.DefaultInfo{Name: strings.Repeat("a", 800<<10)}, "bytes"},
		"long UID":          {user.DefaultInfo{Name: "a", UID: strings.Repeat("a", 800<<10)}, "bytes"},
		"long group":        {user.DefaultInfo{Name: "a", Groups: []string{strings.Repeat("a", 800<<10)}}, "bytes"},
		"long extra":        {user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": {strings.Repeat("a", 800<<10)}}}, "bytes"},
		"many groups":       {user.DefaultInfo{Name: "a", Groups: named(14400, 1)}, "14400 groups"},
		"one group, often":  {user.DefaultInfo{Name: "a", Groups: make([]string, 14400)}, "14400 groups"},
		"many extra keys":   {user.DefaultInfo{Name: "a", Extra: keys(300)}, "300 extra keys"},
		"many extra values": {user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": make([]string, 5000)}}, "5000 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, tenants := claimed(&tc.user, tenantsLimits)
			_, operators := claimed(&tc.user, operatorsLimits)
			for what, err := range map[string]error{"a tenant's": tenants, "the operator's": operators, "forwarded": wellFormed(&tc.user)} {
				if tc.refused == "" && err != nil || tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)) {
					t.Errorf("%s: got %v, want %q", what, err, tc.refused)
				}
			}
		})
	}
	for name, u := range map[string]*user.DefaultInfo{
		"groups": {Name: "a", Groups: named(1025, 4)}, "keys": {Name: "a", Extra: keys(65)},
		"values": {Name: "a", Extra: map[string][]string{"k": named(1025, 4)}}, "bytes": {Name: strings.Repeat("a", 65<<10)},
	} {
		if _, err := claimed(u, tenantsLimits); err == nil {
			t.Errorf("%s: more than a tenant may claim", name)
		}
		if err := wellFormed(u); err != nil {
			t.Errorf("%s: what a shard asserts, who added to what was claimed, is refused: %v", name, err)
		}
	}
}

// TestClaimedIdentityIsItsOwn: what is remembered keeps nothing of what it was
// read from, and has each group once.
func TestClaimedIdentityIsItsOwn(t *testing.T) {
	text := strings.Repeat("abcdefghij", 1000)
	got, err := claimed(&user.DefaultInfo{Name: text[:5], UID: text[5:9], Groups: []string{text[3:4], text[1:2], text[3:4]}, Extra: map[string][]string{text[7:9]: {text[2:4]}, "none": nil}}, tenantsLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := &user.DefaultInfo{Name: "abcde", UID: "fghi", Groups: []string{"b", "d"}, Extra: map[string][]string{"hi": {"cd"}, "none": nil}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	begin := uintptr(unsafe.Pointer(unsafe.StringData(text)))
	own := func(what, s string) {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(s))); at >= begin && at < begin+uintptr(len(text)) {
			t.Errorf("%s %q is a part of the text it was read from", what, s)
		}
	}
	own("name", got.GetName())
	own("UID", got.GetUID())
	for _, g := range got.GetGroups() {
		own("group", g)
	}
	for k, values := range got.GetExtra() {
		own("key", k)
		for _, v := range values {
			own("value", v)
		}
	}
}

// TestGuardCopiesRememberedGroups: a request with a remembered identity costs a
// bounded number of allocations, however many groups there are.
func TestGuardCopiesRememberedGroups(t *testing.T) {
	allocs := func(n int) float64 {
		u, err := claimed(&user.DefaultInfo{Name: "alice", Groups: named(n, 8)}, tenantsLimits)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() {
			if _, err := guard(u); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(4), allocs(1024); many > few {
		t.Errorf("%v allocations with 4 groups, %v with 1024", few, many)
	}
}

// TestTokenOfManyGroups: it is refused, and nothing is remembered of it; one of
// an issuer that is generous is not.
func TestTokenOfManyGroups(t *testing.T) {
	s := serveIssuer(t, issuertest.Options{})
	m := mustBuild(t, TypeIndexConfig{}, specFor(s, with(object{"claim": "groups", "prefix": ""}, "claimMappings", "groups")))
	<-m.issuer.Ready()
	a, err := New(Config{Types: fakeTypes{types: &TypeAuthenticators{ByIssuer: map[string][]TokenAuthenticator{s.URL(): {m}}}}})
	if err != nil {
		t.Fatal(err)
	}
	target := index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team"}}
	ask := func(groups int) *Decision {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "groups": named(groups, 4)}))
		return a.Decide(r, &target)
	}
	if d := ask(1024); d.User == nil || len(d.User.GetGroups()) != 1025 {
		t.Fatalf("1,024 groups: %v", d.Verdicts)
	}
	if d := ask(1025); d.User != nil || !strings.Contains(told(d), "1025 groups") {
		t.Errorf("1,025 groups: %s", told(d))
	}
	if diff := cmp.Diff(1, m.cache.len()); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
}

// TestWebhookIdentitiesAreBounded: the operator's webhook too may say too much.
func TestWebhookIdentitiesAreBounded(t *testing.T) {
	w := newTestWebhook(t, newWebhookServer(t, says(`{"authenticated":true,"user":{"username":"alice","groups":["`+strings.Join(named(2049, 4), `","`)+`"]}}`)), nil)
	_, _, err := w.AuthenticateToken(context.Background(), Token{Raw: "many"})
	if err == nil || errors.Is(err, ErrUndecided) || !strings.Contains(err.Error(), "2049 groups") {
		t.Errorf("got %v", err)
	}
	w = newTestWebhook(t, newWebhookServer(t, says(`{"error":"`+strings.Repeat("no ", 200<<10)+`"}`)), nil)
	for i := range 3 {
		if _, _, err := w.AuthenticateToken(context.Background(), Token{Raw: fmt.Sprint(i)}); err == nil || len(err.Error()) > 1<<10 {
			t.Errorf("got %.100v", err)
		}
	}
	if got := w.refused.Bytes(); got > 4<<10 {
		t.Errorf("three refusals take %d bytes", got)
	}
}
