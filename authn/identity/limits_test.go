package identity

import (
	"frontproxy/authn/internal/authntest"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestIdentitiesAreBounded(t *testing.T) {
	keys := func(n int) map[string][]string {
		out := map[string][]string{}
		for _, key := range authntest.Names(n, 4) {
			out[key] = []string{"v"}
		}
		return out
	}
	for name, tc := range map[string]struct {
		user    user.DefaultInfo
		refused string // by both limits; empty: by none
	}{
		"Entra ID":          {user: user.DefaultInfo{Name: "alice@example.com", Groups: authntest.Names(200, 36)}},
		"300 long names":    {user: user.DefaultInfo{Name: "alice", Groups: authntest.Names(300, 200)}},
		"as many as taken":  {user: user.DefaultInfo{Name: "alice", Groups: authntest.Names(1024, 60), Extra: keys(64)}},
		"long name":         {user.DefaultInfo{Name: strings.Repeat("a", 800<<10)}, "bytes"},
		"long UID":          {user.DefaultInfo{Name: "a", UID: strings.Repeat("a", 800<<10)}, "bytes"},
		"long group":        {user.DefaultInfo{Name: "a", Groups: []string{strings.Repeat("a", 800<<10)}}, "bytes"},
		"long extra":        {user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": {strings.Repeat("a", 800<<10)}}}, "bytes"},
		"many groups":       {user.DefaultInfo{Name: "a", Groups: authntest.Names(14400, 1)}, "14400 groups"},
		"one group, often":  {user.DefaultInfo{Name: "a", Groups: make([]string, 14400)}, "14400 groups"},
		"many extra keys":   {user.DefaultInfo{Name: "a", Extra: keys(300)}, "300 extra keys"},
		"many extra values": {user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": make([]string, 5000)}}, "5000 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, tenants := Normalize(&tc.user, TenantsLimits)
			_, operators := Normalize(&tc.user, OperatorsLimits)
			for what, err := range map[string]error{"a tenant's": tenants, "the operator's": operators, "forwarded": Check(&tc.user)} {
				if tc.refused == "" && err != nil || tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)) {
					t.Errorf("%s: got %v, want %q", what, err, tc.refused)
				}
			}
		})
	}
	for name, u := range map[string]*user.DefaultInfo{
		"groups": {Name: "a", Groups: authntest.Names(1025, 4)}, "keys": {Name: "a", Extra: keys(65)},
		"values": {Name: "a", Extra: map[string][]string{"k": authntest.Names(1025, 4)}}, "bytes": {Name: strings.Repeat("a", 65<<10)},
	} {
		if _, err := Normalize(u, TenantsLimits); err == nil {
			t.Errorf("%s: more than a tenant may claim", name)
		}
		if err := Check(u); err != nil {
			t.Errorf("%s: what a shard asserts, who added to what was claimed, is refused: %v", name, err)
		}
	}
}

// TestNormalizedIdentitySharesNoMemory: what is remembered keeps nothing of what it was
// read from, and has each group once.
func TestNormalizedIdentitySharesNoMemory(t *testing.T) {
	text := strings.Repeat("abcdefghij", 1000)
	got, err := Normalize(&user.DefaultInfo{Name: text[:5], UID: text[5:9], Groups: []string{text[3:4], text[1:2], text[3:4]}, Extra: map[string][]string{text[7:9]: {text[2:4]}, "none": nil}}, TenantsLimits)
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
		u, err := Normalize(&user.DefaultInfo{Name: "alice", Groups: authntest.Names(n, 8)}, TenantsLimits)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() {
			if _, err := GuardWorkspaceUser(u); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(4), allocs(1024); many > few {
		t.Errorf("%v allocations with 4 groups, %v with 1024", few, many)
	}
}
