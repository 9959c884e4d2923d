package clientcert

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/util/cert"

	"frontproxy/authn/identity"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/clip"
)

// CAPool is a certificate authority bundle that may change while in use, such
// as k8s.io/apiserver's dynamiccertificates.CAContentProvider.
type CAPool interface {
	// VerifyOptions returns the options for verifying client certificates; a changed
	// bundle has another Roots pointer. False means that there is no bundle now.
	VerifyOptions() (x509.VerifyOptions, bool)
	// CurrentCABundleContent is the bundle in PEM.
	CurrentCABundleContent() []byte
}

// RequestHeader trusts identity headers from clients with a certificate of CAs
// (--requestheader-*).
type RequestHeader struct {
	CAs CAPool
	// AllowedNames are the common names that may assert; empty: any that CAs
	// verifies.
	AllowedNames []string
	// The headers to read, in order; the first with a value wins, groups and
	// extras add up.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraPrefixes []string
}

// Metric labels and verdict names of the certificate authenticators.
const (
	ByRequestHeader     = "requestheader"
	ByClientCertificate = "client-certificate"
)

// maxQuotedName bounds what an error quotes of a common name.
const maxQuotedName = 256

// maxVerified bounds what is remembered of verified certificates, in bytes: some
// 20,000 of usual users.
const maxVerified = 16 << 20

// Authenticator authenticates client certificates. Each pool is separate: passing the
// TLS handshake proves only possession of the key, a requestheader certificate is not
// a user, and a user certificate cannot assert headers.
type Authenticator struct {
	clients, proxies *verifier // nil: not configured
	allowedProxies   []string
	headers          authenticator.Request
	callers          *shardCallers // nil: no shard may assert
	shards           []ShardClient
	groups           identity.GroupFilter
}

// Config is what certificates need.
type Config struct {
	// ClientCAs is --client-ca-file; nil: client certificates name no users.
	ClientCAs CAPool
	// RequestHeader is nil when no proxy may assert identities.
	RequestHeader *RequestHeader
	// ShardClients are the client certificates that belong to shards, ShardCallers
	// those by which shards assert who asked them.
	ShardClients []ShardClient
	ShardCallers []ShardCaller
	// Groups filters the groups of identities.
	Groups identity.GroupFilter
	// Now is the clock.
	Now func() time.Time
}

// Request is what a client presented, and where.
type Request struct {
	// Certificates are the client's, its own first; none: it has none.
	Certificates []*x509.Certificate
	// Header is the request's. It is only read.
	Header http.Header
	// ShardRoute is the shard whose virtual workspaces the request is for, below
	// /shards/<name>/services/; empty everywhere else.
	ShardRoute string
}

// RefusedCertificate says why a certificate admits nobody.
type RefusedCertificate struct {
	// Authenticator is the kind that refused, Reason why; for operators.
	Authenticator, Reason string
}

// New does no I/O. It fails on a configuration in which a user's
// certificate could assert identities.
func New(config Config) (*Authenticator, error) {
	clientCAs, rh, now := config.ClientCAs, config.RequestHeader, config.Now
	c := &Authenticator{groups: config.Groups, shards: config.ShardClients}
	if clientCAs != nil {
		c.clients = newVerifier(clientCAs, now, c.userOf)
	}
	var err error
	if c.callers, err = newShardCallers(config.ShardCallers, rh, config.Groups.Drop); err != nil || rh == nil {
		return c, err
	}
	c.proxies = newVerifier(rh.CAs, now, nil)
	c.allowedProxies = rh.AllowedNames
	if c.headers, err = headerrequest.New(rh.UsernameHeaders, rh.UIDHeaders, rh.GroupHeaders, rh.ExtraPrefixes); err != nil {
		return nil, fmt.Errorf("--requestheader-* headers: %w", err)
	}
	if clientCAs != nil && len(rh.AllowedNames) == 0 {
		if subject, shared := sharedCA(clientCAs, rh.CAs, now()); shared {
			return nil, fmt.Errorf("--client-ca-file and --requestheader-client-ca-file both trust certificates of CA %q and --requestheader-allowed-names is empty: "+
				"users could assert any identity; use separate CAs or name the proxies' common names", subject)
		}
	}
	return c, nil
}

// Identity is an identity and how it was proved.
type Identity struct {
	User user.Info
	// Authenticator is the kind that accepted.
	Authenticator string
	ExpiresAt     time.Time
	// AssertedBy is the common name of the shard's certificate that asserted User;
	// empty: none did.
	AssertedBy string
	// Infrastructure is what Authenticator.Infrastructure says of the certificate.
	Infrastructure bool
}

// HasClientCA reports whether client certificates name users.
func (c *Authenticator) HasClientCA() bool { return c.clients != nil }

// HasRequestHeaderCA reports whether proxies may assert identities.
func (c *Authenticator) HasRequestHeaderCA() bool { return c.proxies != nil }

// Authenticate judges the request's client certificate. Nil without refusals
// means that there is none, or that no pool is configured.
func (c *Authenticator) Authenticate(r Request) (*Identity, []RefusedCertificate) {
	if len(r.Certificates) == 0 {
		return nil, nil
	}
	if c.callers.lists(r.Certificates[0].Subject.CommonName) && c.callers.asserts(r.Header) {
		if who, refusals, judged := c.shardCaller(r); judged {
			return who, refusals
		}
	}
	var refusals []RefusedCertificate
	proxy, err := c.proxy(r.Certificates)
	switch {
	case err != nil:
		refusals = append(refusals, RefusedCertificate{ByRequestHeader, err.Error()})
	case proxy != nil:
		return c.asserted(r, proxy)
	}
	if c.clients == nil {
		return nil, refusals
	}
	chain, err := c.clients.verify(r.Certificates)
	if err == nil {
		err = chain.nobody
	}
	if err != nil {
		return nil, append(refusals, RefusedCertificate{ByClientCertificate, err.Error()})
	}
	return c.withShardGroups(r, &Identity{
		User: chain.user, Authenticator: ByClientCertificate, ExpiresAt: chain.until, Infrastructure: chain.masters || c.isShardClient(r.Certificates),
	}), nil
}

// CheckRevoked is for certificates that the authenticator by accepted until they expired at
// until. The error says why they would not be accepted now even if they had not expired: their
// CA is not trusted any more.
func (c *Authenticator) CheckRevoked(certs []*x509.Certificate, by string, until time.Time) error {
	v := c.clients
	if by == ByRequestHeader || by == ByShardCaller {
		v = c.proxies
	}
	if v == nil || len(certs) == 0 {
		return nil
	}
	options, ok := v.cas.VerifyOptions()
	if !ok {
		return nil // not known now
	}
	_, err := chainsAt(options, certs, until.Add(-time.Second))
	return err
}

// proxy returns the verified chain when the certificate is one that may assert
// headers, nil when it is not, and an error when it verifies against that pool
// but may not.
func (c *Authenticator) proxy(certs []*x509.Certificate) (*verifiedChain, error) {
	if c.proxies == nil {
		return nil, nil
	}
	chain, err := c.proxies.verify(certs)
	if err != nil {
		return nil, err
	}
	if c.callers.lists(certs[0].Subject.CommonName) {
		return nil, fmt.Errorf("common name %q is in --shard-caller-common-names: it may assert only its shard's callers", clip.Clone(certs[0].Subject.CommonName, maxQuotedName))
	}
	if len(c.allowedProxies) > 0 {
		if !slices.Contains(c.allowedProxies, certs[0].Subject.CommonName) {
			return nil, fmt.Errorf("common name %q is not in --requestheader-allowed-names", clip.Clone(certs[0].Subject.CommonName, maxQuotedName))
		}
		return chain, nil
	}
	if err := c.distinct(certs); err != nil {
		return nil, err
	}
	return chain, nil
}

// distinct refuses a certificate of the requestheader CA that may be a user's. The
// bundles may have come to overlap since the start: then, unless allowed names
// show that this is meant, nobody can tell a proxy from a user, and neither is
// believed to be a proxy, whether or not the certificate names a user.
func (c *Authenticator) distinct(certs []*x509.Certificate) error {
	if c.clients == nil || len(c.allowedProxies) > 0 {
		return nil
	}
	if _, err := c.clients.verify(certs); err == nil {
		return errors.New("the certificate verifies against --client-ca-file too and --requestheader-allowed-names is empty")
	}
	return nil
}

// asserted reads the identity that a verified proxy asserts in headers.
func (c *Authenticator) asserted(r Request, chain *verifiedChain) (*Identity, []RefusedCertificate) {
	// The authenticator deletes what it read; the request stays as it came.
	resp, ok, err := c.headers.AuthenticateRequest(&http.Request{Header: r.Header.Clone()})
	if err != nil || !ok {
		return nil, []RefusedCertificate{{ByRequestHeader, "the certificate may assert an identity, but the request has no user name header"}}
	}
	u, err := c.groups.FilterGlobalUser(resp.User)
	if err != nil {
		return nil, []RefusedCertificate{{ByRequestHeader, err.Error()}}
	}
	return &Identity{User: u, Authenticator: ByRequestHeader, ExpiresAt: chain.until}, nil
}

// userOf reads a certificate as Kubernetes does: the common name is the user,
// the organizations are the groups.
func (c *Authenticator) userOf(chain []*x509.Certificate) (user.Info, error) {
	resp, ok, err := x509request.CommonNameUserConversion(chain)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the certificate has no common name, so it has no user")
	}
	return c.groups.FilterGlobalUser(resp.User)
}

// verifier verifies client certificates against one pool and remembers good
// ones until any certificate of the chain ends or the pool changes.
type verifier struct {
	cas  CAPool
	now  func() time.Time
	user func(chain []*x509.Certificate) (user.Info, error) // nil: names nobody
	// known does not keep a certificate: its memory is the whole handshake message
	// that it came in, with whatever else a client put there. An entry goes with its
	// certificate.
	known *bytecache.Cache[weak.Pointer[x509.Certificate], *verifiedChain]
	// followed has a key for each certificate that has a cleanup. One that known had to
	// evict is verified again, perhaps at each request, and must not get another.
	followed sync.Map
}

// verifiedChain is a chain that held against roots when it was made. Immutable.
type verifiedChain struct {
	roots *x509.CertPool
	until time.Time
	user  user.Info // nil when the verifier names nobody, or nobody is why
	// masters: the certificate has the group system:masters, which user may lack.
	masters bool
	// nobody says why the certificate, good as it is, names no user.
	nobody error
}

func newVerifier(cas CAPool, now func() time.Time, userOf func([]*x509.Certificate) (user.Info, error)) *verifier {
	return &verifier{cas: cas, now: now, user: userOf, known: bytecache.New[weak.Pointer[x509.Certificate], *verifiedChain](maxVerified, nil)}
}

func (v *verifier) verify(certs []*x509.Certificate) (*verifiedChain, error) {
	options, ok := v.cas.VerifyOptions()
	if !ok {
		return nil, errors.New("no CA bundle to verify client certificates")
	}
	now, key := v.now(), weak.Make(certs[0])
	if c, ok := v.known.Get(key); ok && c.roots == options.Roots && now.Before(c.until) && !now.Before(certs[0].NotBefore) {
		return c, nil
	}
	chains, err := chainsAt(options, certs, now)
	if err != nil {
		return nil, err
	}
	c := &verifiedChain{roots: options.Roots}
	for _, chain := range chains { // any will do, until the first of its certificates expires
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(c.until) {
			c.until = first.NotAfter
		}
	}
	kept := 0
	if v.user != nil {
		c.user, c.nobody = v.user(chains[0])
	}
	if c.user != nil {
		kept = identity.KeptBytes(c.user)
		c.masters = slices.Contains(certs[0].Subject.Organization, user.SystemPrivilegedGroup)
	}
	v.known.Add(key, c, kept)
	// Each connection has its own copy of the certificate, which is not seen again after it.
	if _, followed := v.followed.LoadOrStore(key, nil); !followed {
		runtime.AddCleanup(certs[0], v.forget, key)
	}
	return c, nil
}

// forget is called when a certificate is gone.
func (v *verifier) forget(key weak.Pointer[x509.Certificate]) {
	v.known.Remove(key)
	v.followed.Delete(key)
}

// chainsAt verifies a certificate as at a time.
func chainsAt(options x509.VerifyOptions, certs []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	options.CurrentTime = at
	options.Intermediates = x509.NewCertPool()
	for _, c := range certs[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(options)
	if err != nil {
		return nil, fmt.Errorf("client certificate %q (serial %s): %w", clip.Clone(certs[0].Subject.CommonName, maxQuotedName), SerialNumber(certs[0]), err)
	}
	return chains, nil
}

// sharedCA finds a CA of one pool that the other trusts too, by its key or
// because the other's verify it, and returns its subject.
func sharedCA(a, b CAPool, now time.Time) (string, bool) {
	inA, _ := cert.ParseCertsPEM(a.CurrentCABundleContent()) // no error: the pools were loaded from these
	inB, _ := cert.ParseCertsPEM(b.CurrentCABundleContent())
	for _, x := range inA {
		for _, y := range inB {
			if bytes.Equal(x.RawSubjectPublicKeyInfo, y.RawSubjectPublicKeyInfo) {
				return x.Subject.String(), true
			}
		}
	}
	for _, c := range inA {
		if verifiesCA(b, inA, c, now) {
			return c.Subject.String(), true
		}
	}
	for _, c := range inB {
		if verifiesCA(a, inB, c, now) {
			return c.Subject.String(), true
		}
	}
	return "", false
}

// verifiesCA reports whether the pool verifies the CA certificate, with others as
// intermediates.
func verifiesCA(pool CAPool, others []*x509.Certificate, c *x509.Certificate, now time.Time) bool {
	options, ok := pool.VerifyOptions()
	if !ok {
		return false
	}
	options.CurrentTime = now
	options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	options.Intermediates = x509.NewCertPool()
	for _, o := range others {
		options.Intermediates.AddCert(o)
	}
	_, err := c.Verify(options)
	return err == nil
}

// maxSerial is the longest serial number that is shown, in bits: RFC 5280, section
// 4.1.2.2, allows 160, and an untrusted certificate may have a hundred thousand.
const maxSerial = 256

// SerialNumber returns a certificate's serial number, or its size if it is longer than is allowed.
func SerialNumber(c *x509.Certificate) string {
	if n := c.SerialNumber.BitLen(); n > maxSerial {
		return fmt.Sprintf("(of %d bits)", n)
	}
	return c.SerialNumber.String()
}
