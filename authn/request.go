package authn

import (
	"crypto/x509"
	"net/http"
	"net/url"

	"frontproxy/index"
)

// Request is what Decide, Recheck and Explain judge: the credentials of a caller, and what
// they are for. It is only read. Of what it refers to, nothing is kept or modified.
type Request struct {
	// Certificates are the client's, its own first; none: it has none.
	Certificates []*x509.Certificate
	// Header is the request's, with its bearer token and asserted identity.
	Header http.Header
	// RemoteAddr is the client's address, as in http.Request; empty: not known. It shares
	// out what is scarce, and proves nothing.
	RemoteAddr string
	// Method and URL are the request's. They decide nothing: a refusal that is kept has the
	// method and the path. A nil URL has none.
	Method string
	URL    *url.URL

	// Target is what the request's path names. The zero Target is no cluster.
	Target index.Target
	// ShardRoute is the shard whose virtual workspaces the request is for, below
	// /shards/<name>/services/; empty everywhere else.
	ShardRoute string

	// NoWait: Decide is to wait for nobody. Who would have to be asked is undecided, as if
	// asking had taken too long.
	NoWait bool
}
