package identity

import (
	"errors"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// errNoHome is the error for a service account's identity that does not say whose account it is.
var errNoHome = errors.New("the identity is a service account's, and does not say of which one logical cluster")

// Home returns the logical cluster of a service account, and the account's global name, which
// means the same account in every logical cluster. Both are empty if u is no service account.
// The error says that u names one, and no one logical cluster.
func Home(u user.Info) (cluster, global string, err error) {
	if !strings.HasPrefix(u.GetName(), serviceaccount.ServiceAccountUsernamePrefix) {
		return "", "", nil
	}
	namespace, name, err := serviceaccount.SplitUsername(u.GetName())
	home := u.GetExtra()[ClusterNameKey]
	if err != nil || len(home) != 1 || home[0] == "" || strings.ContainsAny(home[0], ":,") {
		return "", "", errNoHome
	}
	return home[0], "system:kcp:serviceaccount:" + home[0] + ":" + namespace + ":" + name, nil
}

// GlobalGroups are the groups that kcp gives the global name of an account of a logical cluster.
func GlobalGroups(cluster string) []string {
	return []string{user.AllAuthenticated, "system:cluster:" + cluster}
}

// Warrant is a user info as kcp reads it from WarrantKey.
type Warrant struct {
	User   string              `json:"user,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// ForReview returns u so that others in the logical cluster cannot take it for somebody else: a
// service account of another cluster has its global name, with the groups that kcp gives that,
// and without its scope, which is not of that name. Its UID stays. Like every identity at a
// shard, u is in the group system:authenticated. The error says that u is a service account of
// no one cluster; nothing of u is modified.
func ForReview(u user.Info, cluster string) (user.Info, error) {
	home, global, err := Home(u)
	if err != nil {
		return nil, err
	}
	out := &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: authenticated(u), Extra: u.GetExtra()}
	if home == "" || home == cluster {
		return out, nil
	}
	out.Name, out.Groups = global, GlobalGroups(home)
	out.Extra = map[string][]string{ClusterNameKey: {home}}
	for key, values := range u.GetExtra() {
		if !strings.Contains(key, KCPDomain) {
			out.Extra[key] = values
		}
	}
	return out, nil
}

// authenticated returns the groups that a shard makes of u's.
func authenticated(u user.Info) []string {
	groups := u.GetGroups()
	if u.GetName() == user.Anonymous || slices.Contains(groups, user.AllAuthenticated) || slices.Contains(groups, user.AllUnauthenticated) {
		return groups
	}
	return append(slices.Clip(groups), user.AllAuthenticated)
}
