package identity

import (
	"fmt"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
)

// ForExternalHost returns the identity to tell a host outside of kcp, which knows neither
// logical clusters nor scopes. There, a name of kcp's could be somebody else's: a
// service account of any workspace would be the one that has its name there. So
// system: users and identities that are tied to a logical cluster are refused,
// and system: groups (but system:authenticated) and kcp.io extras are left out.
func ForExternalHost(u user.Info) (user.Info, error) {
	for _, key := range []string{ScopesKey, ClusterNameKey} {
		if _, tied := u.GetExtra()[key]; tied {
			return nil, fmt.Errorf("its identity is valid in only one logical cluster")
		}
	}
	g, err := GuardWorkspaceUser(u)
	if err != nil {
		return nil, fmt.Errorf("user names that begin with %q belong to this installation", systemPrefix)
	}
	if !slices.Contains(u.GetGroups(), user.AllAuthenticated) {
		g.user.Groups = g.user.Groups[:len(g.user.Groups)-1]
	}
	return &g.user, nil
}
