package clientcert

import (
	"crypto/x509"
	"slices"
)

// Infrastructure reports whether a certificate belongs to what keeps kcp going, which a bound on
// clients must not stop: it verifies, and it is a shard's (ShardClients, ShardCallers) or has
// the group system:masters, whether or not that group is forwarded. It gives no right.
func (c *Authenticator) Infrastructure(certs []*x509.Certificate) bool {
	if len(certs) == 0 {
		return false
	}
	if c.clients != nil {
		if chain, err := c.clients.verify(certs); err == nil && chain.user != nil && (chain.masters || c.isShardClient(certs)) {
			return true
		}
	}
	if c.proxies == nil || !c.callers.lists(certs[0].Subject.CommonName) {
		return false
	}
	_, err := c.proxies.verify(certs)
	return err == nil
}

// isShardClient reports whether a verified user's certificate is one of a shard, on any path.
func (c *Authenticator) isShardClient(certs []*x509.Certificate) bool {
	return slices.ContainsFunc(c.shards, func(s ShardClient) bool { return s.CommonName == certs[0].Subject.CommonName })
}
