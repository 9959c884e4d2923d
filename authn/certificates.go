package authn

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"
	"weak"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/util/cert"

	"frontproxy/authn/identity"
	"frontproxy/index"
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
	byRequestHeader = "requestheader"
	byClientCert    = "client-certificate"
)

// maxVerified bounds what is remembered of verified certificates, in bytes: some
// 20,000 of usual users.
const maxVerified = 16 << 20

// certificates authenticates client certificates. Each pool is separate: passing the
// TLS handshake proves only possession of the key, a requestheader certificate is not
// a user, and a user certificate cannot assert headers.
type certificates struct {
	clients, proxies *verifier // nil: not configured
	allowedProxies   []string
	headers          authenticator.Request
	callers          *shardCallers                      // nil: no shard may assert
	identify         func(user.Info) (user.Info, error) // the global identity rules
}

func newCertificates(clientCAs CAPool, rh *RequestHeader, identify func(user.Info) (user.Info, error), now func() time.Time) (*certificates, error) {
	c := &certificates{identify: identify}
	if clientCAs != nil {
		c.clients = newVerifier(clientCAs, now, c.userOf)
	}
	if rh == nil {
		return c, nil
	}
	c.proxies = newVerifier(rh.CAs, now, nil)
	c.allowedProxies = rh.AllowedNames
	var err error
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

// authenticated is an identity and how it was proved.
type authenticated struct {
	user  user.Info
	by    string
	until time.Time
	// assertedBy is the common name of the shard's certificate that asserted user;
	// empty: none did.
	assertedBy string
	// account: it is a service account, by its own token
	account bool
}

// authenticate judges the request's client certificate. Nil without verdicts
// means that there is none, or that no pool is configured.
func (c *certificates) authenticate(r *http.Request, t *index.Target) (*authenticated, []Verdict) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	if c.callers.lists(r.TLS.PeerCertificates[0].Subject.CommonName) && c.callers.asserts(r.Header) {
		if who, verdicts, judged := c.shardCaller(r, t); judged {
			return who, verdicts
		}
	}
	var verdicts []Verdict
	proxy, err := c.proxy(r.TLS.PeerCertificates)
	switch {
	case err != nil:
		verdicts = append(verdicts, Verdict{byRequestHeader, Refused, err.Error(), true})
	case proxy != nil:
		return c.asserted(r, proxy)
	}
	if c.clients == nil {
		return nil, verdicts
	}
	chain, err := c.clients.verify(r.TLS.PeerCertificates)
	if err == nil {
		err = chain.nobody
	}
	if err != nil {
		return nil, append(verdicts, Verdict{byClientCert, Refused, err.Error(), true})
	}
	return &authenticated{user: chain.user, by: byClientCert, until: chain.until}, nil
}

// checkRevoked returns why the certificate that d admitted, and that has ended, would
// not be good had it not: its CA is trusted no more.
func (c *certificates) checkRevoked(r *http.Request, d *Decision) error {
	v := c.clients
	if d.Asserted() {
		v = c.proxies
	}
	if v == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	options, ok := v.cas.VerifyOptions()
	if !ok {
		return nil // not known now
	}
	_, err := chainsAt(options, r.TLS.PeerCertificates, d.ExpiresAt.Add(-time.Second))
	return err
}

// proxy returns the verified chain when the certificate is one that may assert
// headers, nil when it is not, and an error when it verifies against that pool
// but may not.
func (c *certificates) proxy(certs []*x509.Certificate) (*verifiedChain, error) {
	if c.proxies == nil {
		return nil, nil
	}
	chain, err := c.proxies.verify(certs)
	if err != nil {
		return nil, err
	}
	if c.callers.lists(certs[0].Subject.CommonName) {
		return nil, fmt.Errorf("common name %q is in --shard-caller-common-names: it may assert only its shard's callers", clip.Clone(certs[0].Subject.CommonName, maxPresented))
	}
	if len(c.allowedProxies) > 0 {
		if !slices.Contains(c.allowedProxies, certs[0].Subject.CommonName) {
			return nil, fmt.Errorf("common name %q is not in --requestheader-allowed-names", clip.Clone(certs[0].Subject.CommonName, maxPresented))
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
func (c *certificates) distinct(certs []*x509.Certificate) error {
	if c.clients == nil || len(c.allowedProxies) > 0 {
		return nil
	}
	if _, err := c.clients.verify(certs); err == nil {
		return errors.New("the certificate verifies against --client-ca-file too and --requestheader-allowed-names is empty")
	}
	return nil
}

// asserted reads the identity that a verified proxy asserts in headers.
func (c *certificates) asserted(r *http.Request, chain *verifiedChain) (*authenticated, []Verdict) {
	// The authenticator deletes what it read; the request stays as it came.
	resp, ok, err := c.headers.AuthenticateRequest(&http.Request{Header: r.Header.Clone()})
	if err != nil || !ok {
		return nil, []Verdict{{byRequestHeader, Refused, "the certificate may assert an identity, but the request has no user name header", true}}
	}
	u, err := c.identify(resp.User)
	if err != nil {
		return nil, []Verdict{{byRequestHeader, Refused, err.Error(), true}}
	}
	return &authenticated{user: u, by: byRequestHeader, until: chain.until}, nil
}

// userOf reads a certificate as Kubernetes does: the common name is the user,
// the organizations are the groups.
func (c *certificates) userOf(chain []*x509.Certificate) (user.Info, error) {
	resp, ok, err := x509request.CommonNameUserConversion(chain)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the certificate has no common name, so it has no user")
	}
	return c.identify(resp.User)
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
}

// verifiedChain is a chain that held against roots when it was made. Immutable.
type verifiedChain struct {
	roots *x509.CertPool
	until time.Time
	user  user.Info // nil when the verifier names nobody, or nobody is why
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
	c, ok := v.known.Get(key)
	if ok && c.roots == options.Roots && now.Before(c.until) && !now.Before(certs[0].NotBefore) {
		return c, nil
	}
	chains, err := chainsAt(options, certs, now)
	if err != nil {
		return nil, err
	}
	c = &verifiedChain{roots: options.Roots}
	for _, chain := range chains {
		if end := chainEnd(chain); end.After(c.until) {
			c.until = end
		}
	}
	kept := 0
	if v.user != nil {
		c.user, c.nobody = v.user(chains[0])
	}
	if c.user != nil {
		kept = identity.KeptBytes(c.user)
	}
	v.known.Add(key, c, kept)
	if !ok { // each connection has a copy of its own, which nobody shows after it
		runtime.AddCleanup(certs[0], v.known.Remove, key)
	}
	return c, nil
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
		return nil, fmt.Errorf("client certificate %q (serial %s): %w", clip.Clone(certs[0].Subject.CommonName, maxPresented), serialNumber(certs[0]), err)
	}
	return chains, nil
}

func chainEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// sharedCA finds a CA of one pool that the other trusts too, by its key or
// because the other's verify it, and returns its subject.
func sharedCA(a, b CAPool, now time.Time) (string, bool) {
	inA, inB := certificatesIn(a.CurrentCABundleContent()), certificatesIn(b.CurrentCABundleContent())
	for _, x := range inA {
		for _, y := range inB {
			if bytes.Equal(x.RawSubjectPublicKeyInfo, y.RawSubjectPublicKeyInfo) {
				return x.Subject.String(), true
			}
		}
	}
	for _, c := range inA {
		if vouchesFor(b, inA, c, now) {
			return c.Subject.String(), true
		}
	}
	for _, c := range inB {
		if vouchesFor(a, inB, c, now) {
			return c.Subject.String(), true
		}
	}
	return "", false
}

// vouchesFor says whether the pool verifies the CA certificate, with others as
// intermediates.
func vouchesFor(pool CAPool, others []*x509.Certificate, c *x509.Certificate, now time.Time) bool {
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

func certificatesIn(bundle []byte) []*x509.Certificate {
	certs, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil // the pool was loaded from it: it has certificates
	}
	return certs
}
