package authn

import (
	"encoding/json"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
)

// AsOwner returns the Decision for a request that makes its user the owner of
// something elsewhere. For one that a service account's token admitted, that is
// the account under its global name, which means the same account in every
// logical cluster: with the groups that kcp gives that name, and a warrant for
// what the account may do as itself where its scope lets it. Every other
// Decision comes back as it is.
//
// The name carries no scope. So it may only be forwarded with requests that give
// away nothing but ownership: creations of Workspaces.
func (a *Authenticator) AsOwner(d *Decision) *Decision {
	if d.User == nil || !d.ServiceAccount {
		return d
	}
	home, global, err := identity.Home(d.User)
	if err != nil || home == "" {
		return d
	}
	text, err := json.Marshal(identity.Warrant{User: d.User.GetName(), Groups: d.User.GetGroups(), Extra: d.User.GetExtra()})
	if err != nil {
		return d // strings always encode
	}
	owner := *d
	owner.User = &user.DefaultInfo{
		Name:   global,
		Groups: a.groups.Apply(identity.GlobalGroups(home)),
		Extra:  map[string][]string{identity.ClusterNameKey: {home}, identity.WarrantKey: {string(text)}},
	}
	return &owner
}
