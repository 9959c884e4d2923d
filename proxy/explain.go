package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"frontproxy/authn"
	"frontproxy/authn/authstatus"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/clip"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/identityheaders"
)

// ExplainPath is where explanations are, at the proxy itself and below each
// workspace: /debug/explain/<id> for a refusal, POST of an ExplainRequest to
// /debug/explain for a credential in hand.
const ExplainPath = "/debug/explain"

const (
	// explainsPerSecond and explainsAtOnce bound explanations for operators; in
	// workspaces, those for the workspaces of one share.
	explainsPerSecond, explainsAtOnce     = 10, 30
	sharePerSecond, shareAtOnce, shareNum = 1, 10, 256
	// explainTimeout bounds one, fetches from issuers included.
	explainTimeout = 30 * time.Second
	// maxExplainRequest is the largest ExplainRequest, in bytes.
	maxExplainRequest = 1 << 20
)

// ReasonOtherInstance is the reason of the 404 for a refusal that another
// instance has.
const ReasonOtherInstance metav1.StatusReason = "OtherInstance"

// Explainer tells why requests are admitted or not; *authn.Authenticator does.
type Explainer interface {
	// Explain decides with the trace on; see authn.
	Explain(r *http.Request, t *index.Target, change *workspacetypes.Change) (*authn.Explanation, error)
	// AuthenticatorsFor are the authenticators of a target.
	AuthenticatorsFor(t *index.Target) []authstatus.Authenticator
	// Refusals are those kept.
	Refusals() *authn.Refusals
}

// ExplainRequest asks about a credential in hand.
type ExplainRequest struct {
	// Path is that of the request to explain, Method its method (GET when empty).
	Path   string `json:"path"`
	Method string `json:"method,omitempty"`
	// Token is a bearer token, Certificates a client's certificate and its chain
	// in PEM, without a key: it is judged as if its owner had connected.
	Token        string `json:"token,omitempty"`
	Certificates string `json:"certificates,omitempty"`
	// Asserted is the user that the certificate's owner asserts in X-Remote-*
	// headers; nil means none. Only certificates of proxies and shards can assert
	// one.
	Asserted *authenticationv1.UserInfo `json:"asserted,omitempty"`
	// Change has objects that are taken for applied.
	Change *ExplainChange `json:"change,omitempty"`
}

// ExplainChange is authn.Change.
type ExplainChange struct {
	// Configurations are the specs of WorkspaceAuthenticationConfigurations, by name.
	Configurations map[string]json.RawMessage `json:"configurations,omitempty"`
	// Annotations are those of these objects, by name.
	Annotations map[string]map[string]string `json:"annotations,omitempty"`
	// Types have spec.authenticationConfigurations' names, by name.
	Types map[string][]string `json:"types,omitempty"`
}

// explainPath says whether a path is one of explanations', and for which refusal.
func explainPath(path string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(path, ExplainPath)
	if !ok || rest == "" {
		return "", ok
	}
	id, ok = strings.CutPrefix(rest, "/")
	return id, ok
}

// serveExplain explains to an operator; the caller has already been authorized.
func (x *exchange) serveExplain(w http.ResponseWriter, r *http.Request, id string) {
	if !x.p.explains.AllowN(x.p.now(), 1) {
		x.answer(w, apistatus.TooManyExplanations())
		return
	}
	switch {
	case x.p.sameSite.Check(r) != nil: // a page that the operator looks at, with its certificate
		x.answer(w, apistatus.Forbidden("explanations are not available to pages of other sites"))
	case r.Method == http.MethodPost && id == "":
		x.explainCredential(w, r)
	case r.Method != http.MethodGet:
		x.answer(w, apistatus.MethodNotAllowed("use GET %s/<id of a refusal>, or POST %s", ExplainPath, ExplainPath))
	default:
		x.explainKept(w, id)
	}
}

// explainKept tells a refusal by its id.
func (x *exchange) explainKept(w http.ResponseWriter, id string) {
	refusals := x.p.explainer.Refusals()
	f := refusals.Find(id)
	if f == nil {
		x.answer(w, noRefusal(id, refusals.Instance()))
		return
	}
	x.writeExplanation(w, explainRefusal(refusals.Instance(), f, x.p.explainer.AuthenticatorsFor(&f.Target), false))
}

func noRefusal(id, instance string) *metav1.Status {
	s := apistatus.New(http.StatusNotFound, metav1.StatusReasonNotFound, "instance %s no longer has refusal %q: it keeps only the latest", instance, clip.Clone(id, maxQuoted))
	if !strings.HasPrefix(id, instance+"-") {
		s.Reason = ReasonOtherInstance
		s.Message = fmt.Sprintf("the refusal %q is not one of instance %s: ask the instance that its id begins with", clip.Clone(id, maxQuoted), instance)
	}
	s.Details = &metav1.StatusDetails{UID: types.UID(instance)}
	return s
}

// explainCredential tells what becomes of a request that nobody sent.
func (x *exchange) explainCredential(w http.ResponseWriter, r *http.Request) {
	asked, change, err := readExplainRequest(r)
	if err != nil {
		x.answer(w, apistatus.BadRequest("%s", err.Error()))
		return
	}
	select { // configurations are built, issuers read: one at a time
	case x.p.explaining <- struct{}{}:
		defer func() { <-x.p.explaining }()
	default:
		x.answer(w, apistatus.TooManyExplanations())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
	defer cancel()
	e, err := x.p.explain(asked.WithContext(ctx), x.p.explainer, change)
	if err != nil {
		x.answer(w, apistatus.BadRequest("the change can't be tried: %s", err.Error()))
		return
	}
	x.writeExplanation(w, e)
}

// readExplainRequest makes the request to explain. Errors hold no part of the
// credential.
func readExplainRequest(r *http.Request) (*http.Request, *workspacetypes.Change, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxExplainRequest))
	if err != nil {
		return nil, nil, fmt.Errorf("read the question (at most %d bytes): %w", maxExplainRequest, err)
	}
	var q ExplainRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, nil, errors.New("the body is not an ExplainRequest in JSON")
	}
	u, err := url.ParseRequestURI(q.Path)
	if err != nil || !strings.HasPrefix(q.Path, "/") {
		return nil, nil, errors.New("path: must begin with a slash, as in /clusters/root:org:ws/api/v1/namespaces")
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	asked := &http.Request{
		Method: q.Method, URL: u, RequestURI: q.Path, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Host: r.Host, TLS: &tls.ConnectionState{HandshakeComplete: true},
	}
	if q.Token != "" {
		asked.Header.Set("Authorization", "Bearer "+q.Token)
	}
	if q.Asserted != nil {
		identityheaders.New(identityheaders.DefaultUser, identityheaders.DefaultGroup, identityheaders.DefaultExtra, identityheaders.DefaultUID).Set(asked.Header, infoOf(q.Asserted))
	}
	if asked.TLS.PeerCertificates, err = parseCertificates(q.Certificates); err != nil {
		return nil, nil, err
	}
	return asked, q.Change.change(), nil
}

// maxChain bounds the certificates of a client.
const maxChain = 16

func parseCertificates(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		if all = append(all, c); len(all) > maxChain {
			return nil, fmt.Errorf("certificates: more than %d", maxChain)
		}
	}
	if len(all) == 0 && text != "" {
		return nil, errors.New("certificates: no PEM certificate")
	}
	return all, nil
}

func (c *ExplainChange) change() *workspacetypes.Change {
	if c == nil {
		return nil
	}
	out := &workspacetypes.Change{Configurations: map[string][]byte{}, Annotations: c.Annotations, Types: c.Types}
	for name, spec := range c.Configurations {
		out.Configurations[name] = spec
	}
	return out
}

// writeExplanation answers with a story, which no cache may keep.
func (x *exchange) writeExplanation(w http.ResponseWriter, v any) {
	x.headerWritten, x.code = true, http.StatusOK
	writeJSON(w, v)
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encode an answer: %w", err)) // it has no types that fail
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}

// explainsWorkspace answers an administrator of the workspace in a path below
// /clusters/, about refusals of that workspace only, and without the operator's data.
// False means that the request is for the shard. The question has been authenticated
// like any request.
//
// The shard decides who administers the workspace, asked with the caller's own
// identity (SelfSubjectAccessReview): get on the non-resource URL /debug/explain
// there. The proxy needs no right of its own for that.
func (x *exchange) explainsWorkspace(w http.ResponseWriter, r *http.Request) bool {
	if x.p.explainer == nil || x.dest.Kind != destination.Shard {
		return false
	}
	id, ok := explainPath(x.dest.Path)
	if !ok {
		return false
	}
	switch {
	case r.Method != http.MethodGet || id == "":
		x.answer(w, apistatus.MethodNotAllowed("in a workspace, use GET …%s/<id of a refusal>", ExplainPath))
		return true
	case x.decision.User == nil: // passed through: the shard knows who that is, and nobody here
		x.answer(w, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized}))
		return true
	}
	if status := x.run(); status != nil { // the shard is asked
		x.answer(w, status)
		return true
	}
	if status := x.canExplain(r.Context()); status != nil {
		x.answer(w, status)
		return true
	}
	if !x.p.workspaceExplains.of(x.dest.Target.Cluster).AllowN(x.p.now(), 1) {
		x.answer(w, apistatus.TooManyExplanations())
		return true
	}
	refusals := x.p.explainer.Refusals()
	f := refusals.Find(id)
	if f == nil || f.Target.Cluster != x.dest.Target.Cluster {
		x.answer(w, noRefusal(id, refusals.Instance())) // others' are as if they were not there
		return true
	}
	x.writeExplanation(w, explainRefusal(refusals.Instance(), f, x.p.explainer.AuthenticatorsFor(&f.Target), true))
	return true
}

// workspaceLimiter bound what logical clusters ask for, so that who asks for much leaves
// room for others: those whose names have the same hash have one bound.
type workspaceLimiter struct {
	seed     maphash.Seed
	limiters [shareNum]*rate.Limiter
}

func newWorkspaceLimiter() *workspaceLimiter {
	s := &workspaceLimiter{seed: maphash.MakeSeed()}
	for i := range s.limiters {
		s.limiters[i] = rate.NewLimiter(sharePerSecond, shareAtOnce)
	}
	return s
}

func (s *workspaceLimiter) of(cluster string) *rate.Limiter {
	return s.limiters[maphash.String(s.seed, cluster)%shareNum]
}

// maxQuoted bounds what an answer quotes of a request, in bytes.
const maxQuoted = 256

const selfReviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// canExplain asks the shard, as the caller, whether it may read explanations.
func (x *exchange) canExplain(ctx context.Context) *metav1.Status {
	allowed, err := x.selfReview(ctx)
	if err != nil {
		x.p.log.Error(err, "Could not authorize a request for an explanation", "cluster", x.dest.Target.Cluster)
		return apistatus.AuthorizationFailed(err)
	}
	if !allowed {
		return apistatus.Forbidden("forbidden: User %q cannot get path %q in this workspace", x.decision.User.GetName(), ExplainPath)
	}
	return nil
}

func (x *exchange) selfReview(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
		Spec:     authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: ExplainPath, Verb: "get"}},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, x.dest.Base.String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	q.URL = &url.URL{}
	x.dest.SetURL(q.URL, selfReviewPath)
	q.Header.Set("Content-Type", "application/json")
	x.dest.Headers.Set(q.Header, x.decision.User)
	resp, err := x.dest.Transport.RoundTrip(q)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxExplainRequest))
	switch {
	case err != nil:
		return false, err
	case resp.StatusCode == http.StatusForbidden: // not even that: no access to the workspace
		return false, nil
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return false, fmt.Errorf("the shard answers a SelfSubjectAccessReview with %s", resp.Status)
	}
	*review = authorizationv1.SelfSubjectAccessReview{}
	if err := json.Unmarshal(answer, review); err != nil {
		return false, fmt.Errorf("the shard's answer is not a SelfSubjectAccessReview: %w", err)
	}
	return review.Status.Allowed, nil
}
