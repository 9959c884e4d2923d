package clientcert

import (
	"slices"

	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
)

// ShardClient is a shard's own client certificate.
type ShardClient struct {
	CommonName string
	// Shard is the one whose virtual workspaces it is for; empty: every shard's.
	Shard string
}

// withShardGroups gives a shard that is a client of shards' virtual workspaces back the
// groups that the drop list took: below /shards/<name>/services/ only, and only
// to an operator's certificate with one of the names. Elsewhere it is a client
// like any other.
func (c *Authenticator) withShardGroups(r Request, who *Identity) *Identity {
	if r.ShardRoute == "" || len(c.shards) == 0 {
		return who
	}
	name := r.Certificates[0].Subject.CommonName
	if !slices.ContainsFunc(c.shards, func(s ShardClient) bool {
		return s.CommonName == name && (s.Shard == "" || s.Shard == r.ShardRoute)
	}) {
		return who
	}
	// The certificate was verified for who.
	resp, ok, err := x509request.CommonNameUserConversion(r.Certificates)
	if err != nil || !ok || identity.Check(resp.User) != nil {
		return who
	}
	groups := append(slices.Clone(resp.User.GetGroups()), user.AllAuthenticated)
	slices.Sort(groups)
	whole := *who
	whole.User = &user.DefaultInfo{Name: resp.User.GetName(), UID: resp.User.GetUID(), Groups: slices.Compact(groups), Extra: resp.User.GetExtra()}
	return &whole
}
