package authn

import (
	"net/http"
	"slices"

	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/index"
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
func (a *Authenticator) withShardGroups(r *http.Request, t *index.Target, who *authenticated) *authenticated {
	if t.Services == nil || len(a.shardClients) == 0 || who.by != byClientCert {
		return who
	}
	name := r.TLS.PeerCertificates[0].Subject.CommonName
	if !slices.ContainsFunc(a.shardClients, func(c ShardClient) bool {
		return c.CommonName == name && (c.Shard == "" || c.Shard == t.Services.Name)
	}) {
		return who
	}
	// The certificate was verified for who.
	resp, ok, err := x509request.CommonNameUserConversion(r.TLS.PeerCertificates)
	if err != nil || !ok || identity.Check(resp.User) != nil {
		return who
	}
	groups := append(slices.Clone(resp.User.GetGroups()), user.AllAuthenticated)
	slices.Sort(groups)
	return &authenticated{
		user: &user.DefaultInfo{Name: resp.User.GetName(), UID: resp.User.GetUID(), Groups: slices.Compact(groups), Extra: resp.User.GetExtra()}, by: who.by, until: who.until,
	}
}
