package zpages

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"frontproxy/authn"
	"frontproxy/authn/authstatus"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/clip"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/ratelimit"
)

// ExplainPath is where explanations are, at the proxy itself and below each
// workspace: /debug/explain/<id> for a refusal, POST of an ExplainRequest to
// /debug/explain for a credential in hand.
const ExplainPath = "/debug/explain"

const (
	// OperatorBurst is how many explanations operators may have at once, operatorRate
	// how many more a second.
	OperatorBurst = 30
	operatorRate  = 10
	// WorkspaceBurst and workspaceRate are the same for each workspace.
	WorkspaceBurst = 10
	workspaceRate  = 1
	// explainTimeout bounds one, fetches from issuers included.
	explainTimeout = 30 * time.Second
	// MaxRequest is the largest ExplainRequest, in bytes.
	MaxRequest = 1 << 20
)

// ReasonOtherInstance is the reason of the 404 for a refusal that another
// instance has.
const ReasonOtherInstance metav1.StatusReason = "OtherInstance"

// Explainer tells why requests are admitted or not; *authn.Authenticator does.
type Explainer interface {
	// Explain decides with the trace on; see authn.
	Explain(ctx context.Context, r authn.Request, change *workspacetypes.Change) (*authn.Explanation, error)
	// AuthenticatorsFor are the authenticators of a workspace type.
	AuthenticatorsFor(t *index.Type) []authstatus.Authenticator
	// Refusals are those kept.
	Refusals() *authn.RefusalLog
}

// Explanations answers requests for explanations, and bounds how many there are.
type Explanations struct {
	explainer  Explainer
	try        TryFunc
	now        func() time.Time
	trying     chan struct{} // has the one credential that is being explained
	operators  *rate.Limiter
	workspaces *ratelimit.PerKey
	sameSite   http.CrossOriginProtection
}

// TryFunc evaluates a hypothetical request up to the decision, as if change had been applied,
// and reports each step.
type TryFunc func(r *http.Request, change *workspacetypes.Change) (*Explanation, error)

// NewExplanations makes one that asks e about refusals, and try about credentials.
func NewExplanations(e Explainer, try TryFunc, now func() time.Time) *Explanations {
	return &Explanations{
		explainer: e, try: try, now: now, trying: make(chan struct{}, 1),
		operators: rate.NewLimiter(operatorRate, OperatorBurst), workspaces: newWorkspaceLimiter(now),
	}
}

// ExplainedID reports whether a path is one of explanations', and for which refusal.
func ExplainedID(path string) (id string, ok bool) {
	if path == ExplainPath {
		return "", true
	}
	return strings.CutPrefix(path, ExplainPath+"/")
}

// ForOperator explains the refusal id, or the credential in the body. The caller must have
// authorized the reader. A non-nil Status says why there is no explanation.
func (e *Explanations) ForOperator(r *http.Request, id string) (*Explanation, *metav1.Status) {
	if !e.operators.AllowN(e.now(), 1) {
		return nil, apistatus.TooManyExplanations()
	}
	switch {
	case e.sameSite.Check(r) != nil: // a page that the operator looks at, with its certificate
		return nil, apistatus.Forbidden("explanations are not available to pages of other sites")
	case r.Method == http.MethodPost && id == "":
		return e.credential(r)
	case r.Method != http.MethodGet:
		return nil, apistatus.MethodNotAllowed("use GET %s/<id of a refusal>, or POST %s", ExplainPath, ExplainPath)
	}
	f := e.explainer.Refusals().Find(id)
	if f == nil {
		return nil, e.noRefusal(id)
	}
	return e.refusal(f, false), nil
}

// ForWorkspace explains the refusal id to an administrator of the logical cluster. Refusals in
// other clusters do not exist for it.
func (e *Explanations) ForWorkspace(cluster, id string) (*Explanation, *metav1.Status) {
	if !e.workspaces.Allow(cluster) {
		return nil, apistatus.TooManyExplanations()
	}
	f := e.explainer.Refusals().Find(id)
	if f == nil || f.Target.Cluster != cluster {
		return nil, e.noRefusal(id)
	}
	return e.refusal(f, true), nil
}

func (e *Explanations) refusal(f *authn.Refusal, confined bool) *Explanation {
	return explainRefusal(e.explainer.Refusals().Instance(), f, e.explainer.AuthenticatorsFor(&f.Target.Type), confined)
}

func (e *Explanations) noRefusal(id string) *metav1.Status {
	instance := e.explainer.Refusals().Instance()
	s := apistatus.New(http.StatusNotFound, metav1.StatusReasonNotFound, "instance %s no longer has refusal %q: it keeps only the latest", instance, clip.Clone(id, maxQuoted))
	if !strings.HasPrefix(id, instance+"-") {
		s.Reason = ReasonOtherInstance
		s.Message = fmt.Sprintf("the refusal %q is not one of instance %s: ask the instance that its id begins with", clip.Clone(id, maxQuoted), instance)
	}
	s.Details = &metav1.StatusDetails{UID: types.UID(instance)}
	return s
}

// credential explains how a hypothetical request would be decided.
func (e *Explanations) credential(r *http.Request) (*Explanation, *metav1.Status) {
	asked, change, err := readExplainRequest(r)
	if err != nil {
		return nil, apistatus.BadRequest("%s", err.Error())
	}
	select { // configurations are built, issuers read: one at a time
	case e.trying <- struct{}{}:
		defer func() { <-e.trying }()
	default:
		return nil, apistatus.TooManyExplanations()
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
	defer cancel()
	out, err := e.try(asked.WithContext(ctx), change)
	if err != nil {
		return nil, apistatus.BadRequest("the change can't be tried: %s", err.Error())
	}
	return out, nil
}

// newWorkspaceLimiter bounds what one logical cluster asks for, so that it leaves room for others.
func newWorkspaceLimiter(now func() time.Time) *ratelimit.PerKey {
	return ratelimit.NewPerKey(ratelimit.Rate{PerSecond: workspaceRate, Burst: WorkspaceBurst}, now)
}

// maxQuoted bounds what an answer quotes of a request, in bytes.
const maxQuoted = 256
