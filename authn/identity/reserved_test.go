package identity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestGuard(t *testing.T) {
	for name, tc := range map[string]struct {
		in      user.DefaultInfo
		want    user.DefaultInfo
		removed []string
		refused string // a part of the error; empty: admitted
	}{
		"plain": {
			in:   user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"devs"}, Extra: map[string][]string{"example.org/team": {"a", ""}}},
			want: user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"devs", "system:authenticated"}, Extra: map[string][]string{"example.org/team": {"a", ""}}},
		},
		"system groups are removed": {
			in:      user.DefaultInfo{Name: "alice", Groups: []string{"system:masters", "devs", "System:Masters", "system:authenticated", "devs"}},
			want:    user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}, Extra: map[string][]string{}},
			removed: []string{`group "system:masters"`, `group "System:Masters"`, `group "system:authenticated"`},
		},
		"kcp extras are removed": {
			in: user.DefaultInfo{Name: "alice", Extra: map[string][]string{
				"authentication.kcp.io/scopes": {"cluster:other"}, "authentication.kcp.io/cluster-name": {"other"},
				"authorization.kcp.io/warrant": {"{}"}, "x.kcp.io.example/y": {"z"}, "empty": nil}},
			want:    user.DefaultInfo{Name: "alice", Groups: []string{"system:authenticated"}, Extra: map[string][]string{}},
			removed: []string{`extra "authentication.kcp.io/cluster-name"`, `extra "authentication.kcp.io/scopes"`, `extra "authorization.kcp.io/warrant"`, `extra "x.kcp.io.example/y"`},
		},
		"umlauts pass":              {in: user.DefaultInfo{Name: "jürgen"}, want: user.DefaultInfo{Name: "jürgen", Groups: []string{"system:authenticated"}, Extra: map[string][]string{}}},
		"system user":               {in: user.DefaultInfo{Name: "system:admin"}, refused: "no workspace authenticator may assert"},
		"system user in upper case": {in: user.DefaultInfo{Name: "SYSTEM:admin"}, refused: "no workspace authenticator may assert"},
		"leading space":             {in: user.DefaultInfo{Name: " system:admin"}, refused: "white space"},
		"no-break space":            {in: user.DefaultInfo{Name: "alice\u00a0"}, refused: "white space"},
		"line feed":                 {in: user.DefaultInfo{Name: "alice\nX-Remote-Group: system:masters"}, refused: "control character"},
		"tab":                       {in: user.DefaultInfo{Name: "\tsystem:admin"}, refused: "control character"},
		"C1 control":                {in: user.DefaultInfo{Name: "a\u0085b"}, refused: "control character"},
		"not UTF-8":                 {in: user.DefaultInfo{Name: "a\xffb"}, refused: "not UTF-8"},
		"no name":                   {in: user.DefaultInfo{}, refused: "user name is empty"},
		"UID with space":            {in: user.DefaultInfo{Name: "a", UID: "1 "}, refused: "white space"},
		"empty group":               {in: user.DefaultInfo{Name: "a", Groups: []string{""}}, refused: "group is empty"},
		"group with trailing space": {in: user.DefaultInfo{Name: "a", Groups: []string{"system:masters "}}, refused: "white space"},
		"group with nul":            {in: user.DefaultInfo{Name: "a", Groups: []string{"system:masters\x00"}}, refused: "control character"},
		"extra key in upper case":   {in: user.DefaultInfo{Name: "a", Extra: map[string][]string{"Authentication.KCP.io/scopes": {"x"}}}, refused: "not lower case"},
		"empty extra key":           {in: user.DefaultInfo{Name: "a", Extra: map[string][]string{"": {"x"}}}, refused: "extra key is empty"},
		"extra key with space":      {in: user.DefaultInfo{Name: "a", Extra: map[string][]string{"authentication.kcp.io/scopes ": {"x"}}}, refused: "white space"},
		"extra value with newline":  {in: user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": {"x\r\n"}}}, refused: "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := GuardWorkspaceUser(&tc.in)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Fatalf("guard: got %v, %v; want an error with %q", got, err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got.Removed)
			slices.Sort(tc.removed)
			if diff := cmp.Diff(tc.removed, got.Removed); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, got.user); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScopeIsTheRequestsOwn(t *testing.T) {
	shared := &user.DefaultInfo{Name: "alice", Extra: map[string][]string{"k": {"v"}}}
	scoped := func(cluster string) user.Info {
		g, err := GuardWorkspaceUser(shared)
		if err != nil {
			t.Fatal(err)
		}
		return g.Scoped(cluster)
	}
	one, two := scoped("one"), scoped("two")
	want := func(cluster string) map[string][]string {
		return map[string][]string{"k": {"v"}, ScopesKey: {"cluster:" + cluster}, ClusterNameKey: {cluster}}
	}
	if diff := cmp.Diff(want("one"), one.GetExtra()); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want("two"), two.GetExtra()); diff != "" {
		t.Errorf("second (-want +got):\n%s", diff)
	}
	if len(shared.Extra) != 1 {
		t.Errorf("the shared identity was changed: %v", shared.Extra)
	}
}

// FuzzGuard checks what the guard promises against what Kubernetes' own
// requestheader authenticator makes of the values as HTTP headers carry them.
func FuzzGuard(f *testing.F) {
	f.Add("alice", "uid", "devs", "team", "a")
	f.Add("system:admin", "", "system:masters", "authentication.kcp.io/scopes", "cluster:x")
	f.Add(" system:admin", " ", "system:masters\t", "Authentication.kcp.io/scopes", "\x00")
	f.Fuzz(func(t *testing.T, name, uid, group, key, value string) {
		g, err := GuardWorkspaceUser(&user.DefaultInfo{Name: name, UID: uid, Groups: []string{group}, Extra: map[string][]string{key: {value}}})
		if err != nil {
			return
		}
		u := g.Scoped("home")
		h := http.Header{"X-Remote-User": {strings.Trim(u.GetName(), " \t")}, "X-Remote-Uid": {strings.Trim(u.GetUID(), " \t")}}
		for _, g := range u.GetGroups() {
			h.Add("X-Remote-Group", strings.Trim(g, " \t"))
		}
		reader, err := headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"})
		if err != nil {
			t.Fatal(err)
		}
		resp, ok, err := reader.AuthenticateRequest(&http.Request{Header: h})
		if err != nil || !ok {
			t.Fatalf("the shard reads no identity: %v", err)
		}
		got := resp.User
		if got.GetName() != name || got.GetUID() != uid || strings.HasPrefix(strings.ToLower(got.GetName()), "system:") {
			t.Errorf("the shard reads user %q uid %q, decided were %q %q", got.GetName(), got.GetUID(), name, uid)
		}
		if diff := cmp.Diff(u.GetGroups(), got.GetGroups()); diff != "" {
			t.Errorf("groups (-decided +read):\n%s", diff)
		}
		for _, g := range got.GetGroups() {
			if strings.HasPrefix(strings.ToLower(g), "system:") && g != user.AllAuthenticated {
				t.Errorf("group %q passed the guard", g)
			}
		}
		for k := range u.GetExtra() {
			if strings.Contains(strings.ToLower(k), "kcp.io") && k != ScopesKey && k != ClusterNameKey {
				t.Errorf("extra key %q passed the guard", k)
			}
		}
	})
}

// TestRefusalsOfBigIdentitiesAreSmall: what is kept of a bad identity does not
// grow with it.
func TestRefusalsOfBigIdentitiesAreSmall(t *testing.T) {
	big := strings.Repeat("a", 60<<10)
	groups := make([]string, 1000)
	for i := range groups {
		groups[i] = fmt.Sprint("system:", i, big[:100])
	}
	for name, u := range map[string]*user.DefaultInfo{
		"control":   {Name: big + "\x00"},
		"space":     {Name: big + " "},
		"UTF-8":     {Name: big + "\xff"},
		"system":    {Name: "system:" + big},
		"extra key": {Name: "a", Extra: map[string][]string{"A" + big: {"x"}}},
		"value":     {Name: "a", Extra: map[string][]string{big: {"\x00" + big}}},
	} {
		if _, err := GuardWorkspaceUser(u); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: got an error of %d bytes", name, len(fmt.Sprint(err)))
		}
	}
	g, err := GuardWorkspaceUser(&user.DefaultInfo{Name: "a", Groups: groups})
	if err != nil || len(strings.Join(g.Removed, "")) > 10_000 {
		t.Errorf("removed takes %d bytes, %v", len(strings.Join(g.Removed, "")), err)
	}
}
