package authn

import (
	"encoding/json"
	"frontproxy/authn/identity"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestAsOwner(t *testing.T) {
	bot := &user.DefaultInfo{
		Name: "system:serviceaccount:default:bot", UID: "u1",
		Groups: []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"},
		Extra: map[string][]string{
			identity.ClusterNameKey: {"2kd9"}, identity.ScopesKey: {"cluster:2kd9"}, user.CredentialIDKey: {"JTI=1"},
		},
	}
	a, err := New(Config{DropGroups: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	got := a.AsOwner(&Decision{User: bot, Status: 200, Authenticator: byToken, ServiceAccount: true})
	text, err := json.Marshal(map[string]any{"user": bot.Name, "groups": bot.Groups, "extra": bot.Extra})
	if err != nil {
		t.Fatal(err)
	}
	var wantWarrant, gotWarrant any
	warrants := got.User.GetExtra()[identity.WarrantKey]
	if len(warrants) != 1 || json.Unmarshal([]byte(warrants[0]), &gotWarrant) != nil || json.Unmarshal(text, &wantWarrant) != nil {
		t.Fatalf("warrants are %q", warrants)
	}
	if diff := cmp.Diff(wantWarrant, gotWarrant); diff != "" {
		t.Errorf("warrant (-want +got):\n%s", diff)
	}
	want := &user.DefaultInfo{
		Name: "system:kcp:serviceaccount:2kd9:default:bot", Groups: []string{"system:authenticated", "system:cluster:2kd9"},
		Extra: map[string][]string{identity.ClusterNameKey: {"2kd9"}, identity.WarrantKey: warrants},
	}
	if diff := cmp.Diff(user.Info(want), got.User); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	if err := identity.Check(got.User); err != nil {
		t.Errorf("a shard would read it as another: %v", err)
	}
	if bot.Extra[identity.WarrantKey] != nil || len(bot.Extra[identity.ScopesKey]) != 1 {
		t.Errorf("the identity itself was changed: %+v", bot)
	}
}

func TestAsOwnerOfOthers(t *testing.T) {
	home := map[string][]string{identity.ClusterNameKey: {"2kd9"}}
	for name, d := range map[string]*Decision{
		"a user":                         {User: &user.DefaultInfo{Name: "alice", Extra: home}, ServiceAccount: true},
		"not by its own token":           {User: &user.DefaultInfo{Name: "system:serviceaccount:default:bot", Extra: home}},
		"without a home":                 {User: &user.DefaultInfo{Name: "system:serviceaccount:default:bot"}, ServiceAccount: true},
		"with a home that is no name":    {User: &user.DefaultInfo{Name: "system:serviceaccount:default:bot", Extra: map[string][]string{identity.ClusterNameKey: {"system:admin"}}}, ServiceAccount: true},
		"with two homes":                 {User: &user.DefaultInfo{Name: "system:serviceaccount:default:bot", Extra: map[string][]string{identity.ClusterNameKey: {"a", "b"}}}, ServiceAccount: true},
		"passed through":                 {PassThrough: true},
		"with a name that is no account": {User: &user.DefaultInfo{Name: "system:serviceaccount:bot", Extra: home}, ServiceAccount: true},
	} {
		a, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.AsOwner(d); got != d {
			t.Errorf("%s: becomes %+v", name, got.User)
		}
	}
}
