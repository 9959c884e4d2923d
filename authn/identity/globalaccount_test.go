package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestForReview(t *testing.T) {
	account := func(extra map[string][]string) *user.DefaultInfo {
		return &user.DefaultInfo{Name: "system:serviceaccount:ns:bot", UID: "u", Groups: []string{"system:serviceaccounts"}, Extra: extra}
	}
	at := func(clusters ...string) map[string][]string {
		return map[string][]string{ClusterNameKey: clusters, ScopesKey: {"cluster:c1"}, WarrantKey: {"{}"}, "example.org/x": {"y"}}
	}
	for name, tt := range map[string]struct {
		in   *user.DefaultInfo
		want *user.DefaultInfo // nil: refused
	}{
		"a user":                        {&user.DefaultInfo{Name: "alice", Groups: []string{"a"}}, &user.DefaultInfo{Name: "alice", Groups: []string{"a", user.AllAuthenticated}}},
		"a user, filtered":              {&user.DefaultInfo{Name: "alice"}, &user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}}},
		"not twice":                     {&user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}}, &user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}}},
		"nobody":                        {&user.DefaultInfo{Name: user.Anonymous}, &user.DefaultInfo{Name: user.Anonymous}},
		"unauthenticated":               {&user.DefaultInfo{Name: "x", Groups: []string{user.AllUnauthenticated}}, &user.DefaultInfo{Name: "x", Groups: []string{user.AllUnauthenticated}}},
		"a user's scope":                {&user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}, Extra: at("c2")}, &user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}, Extra: at("c2")}},
		"account at home":               {account(at("c1")), &user.DefaultInfo{Name: "system:serviceaccount:ns:bot", UID: "u", Groups: []string{"system:serviceaccounts", user.AllAuthenticated}, Extra: at("c1")}},
		"account elsewhere":             {account(at("c2")), &user.DefaultInfo{Name: "system:kcp:serviceaccount:c2:ns:bot", UID: "u", Groups: []string{user.AllAuthenticated, "system:cluster:c2"}, Extra: map[string][]string{ClusterNameKey: {"c2"}, "example.org/x": {"y"}}}},
		"account of nowhere":            {account(nil), nil},
		"account of two clusters":       {account(at("c1", "c2")), nil},
		"account of an empty cluster":   {account(at("")), nil},
		"account of a system cluster":   {account(at("system:admin")), nil},
		"account of a list of clusters": {account(at("c1,c2")), nil},
		"account without a name":        {&user.DefaultInfo{Name: "system:serviceaccount:ns:", Extra: at("c1")}, nil},
		"account with too long a name":  {&user.DefaultInfo{Name: "system:serviceaccount:ns:a:b", Extra: at("c1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := *tt.in
			got, err := ForReview(tt.in, "c1")
			if tt.want == nil {
				if err == nil || got != nil {
					t.Errorf("%v, %v; want it refused", got, err)
				}
				return
			}
			if diff := cmp.Diff(user.Info(tt.want), got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if diff := cmp.Diff(before, *tt.in); diff != "" {
				t.Errorf("the identity was changed:\n%s", diff)
			}
		})
	}
}
