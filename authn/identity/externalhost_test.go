package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestForExternalHost(t *testing.T) {
	type extra = map[string][]string
	for name, tt := range map[string]struct {
		in   user.DefaultInfo
		want *user.DefaultInfo // nil: refused
	}{
		"a user": {
			user.DefaultInfo{Name: "alice", UID: "u", Groups: []string{"devs", "system:authenticated"}, Extra: extra{"a": {"b"}}},
			&user.DefaultInfo{Name: "alice", UID: "u", Groups: []string{"devs", "system:authenticated"}, Extra: extra{"a": {"b"}}},
		},
		"without groups": {user.DefaultInfo{Name: "alice"}, &user.DefaultInfo{Name: "alice", Groups: []string{}, Extra: extra{}}},
		"system groups and kcp's extras": {
			user.DefaultInfo{Name: "alice", Groups: []string{"system:masters", "System:nodes", "system:kcp:admin"}, Extra: extra{"authorization.kcp.io/warrant": {"{}"}}},
			&user.DefaultInfo{Name: "alice", Groups: []string{}, Extra: extra{}},
		},
		"a system user":      {user.DefaultInfo{Name: "system:serviceaccount:kube-system:admin"}, nil},
		"in other letters":   {user.DefaultInfo{Name: "System:admin"}, nil},
		"scoped":             {user.DefaultInfo{Name: "alice", Extra: extra{ScopesKey: {"cluster:a"}}}, nil},
		"of one cluster":     {user.DefaultInfo{Name: "alice", Extra: extra{ClusterNameKey: {"a"}}}, nil},
		"no scope, but tied": {user.DefaultInfo{Name: "alice", Extra: extra{ScopesKey: nil}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ForExternalHost(&tt.in)
			if tt.want == nil {
				if err == nil {
					t.Errorf("told as %+v", got)
				}
				return
			}
			if diff := cmp.Diff(user.Info(tt.want), got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
