package authn

import (
	"net/http"
	"slices"

	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/index"
)

// asShard gives a shard that is a client of shards' virtual workspaces back the
// groups that the drop list took: below /shards/<name>/services/ only, and only
// to an operator's certificate with one of the names. Elsewhere it is a client
// like any other.
func (a *Authenticator) asShard(r *http.Request, t *index.Target, who *admitted) *admitted {
	if t.Services == nil || len(a.shardClients) == 0 || who.by != byClientCert ||
		!slices.Contains(a.shardClients, r.TLS.PeerCertificates[0].Subject.CommonName) {
		return who
	}
	// The certificate was verified for who.
	resp, ok, err := x509request.CommonNameUserConversion(r.TLS.PeerCertificates)
	if err != nil || !ok || wellFormed(resp.User) != nil {
		return who
	}
	groups := append(slices.Clone(resp.User.GetGroups()), user.AllAuthenticated)
	slices.Sort(groups)
	return &admitted{
		user: &user.DefaultInfo{Name: resp.User.GetName(), UID: resp.User.GetUID(), Groups: slices.Compact(groups), Extra: resp.User.GetExtra()}, by: who.by, until: who.until,
	}
}
