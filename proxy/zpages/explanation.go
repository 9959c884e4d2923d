package zpages

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/authn/authstatus"
	"frontproxy/authn/identity"
	"frontproxy/authn/issuer"
	"frontproxy/index"
	"frontproxy/lookup"
)

// Explanation says how one request was answered and why, as `front-proxy explain` shows
// it. It holds no credential.
type Explanation struct {
	// Instance is the proxy that says it.
	Instance string `json:"instance"`
	AskedRequest
	Answered

	Place      Place                   `json:"place"`
	Credential authn.CredentialSummary `json:"credential"`
	// User is who the request is forwarded as.
	User *authenticationv1.UserInfo `json:"user,omitempty"`
	// AssertedBy is the common name of the certificate by which the shard of
	// Place.Services names User as its caller.
	AssertedBy string `json:"assertedBy,omitempty"`

	// Verdicts are what each authenticator that was asked said, in order.
	Verdicts []authn.Verdict `json:"verdicts,omitempty"`
	// Guard is what the guard removed from identities.
	Guard []string `json:"guard,omitempty"`
	// Versions are the objects that were used then, as "kind/name@resourceVersion".
	Versions []string `json:"versions,omitempty"`
	// Authenticators may be asked about such requests; their states are now's.
	Authenticators []authstatus.Authenticator `json:"authenticators,omitempty"`
	Notes          []string                   `json:"notes,omitempty"`
}

// AskedRequest is the request that an Explanation is about.
type AskedRequest struct {
	// ID and Time are of a refusal that was kept; empty for a credential in hand.
	ID   string      `json:"id,omitempty"`
	Time metav1.Time `json:"time,omitzero"`
	// Count is how many requests were refused under ID, and Last the time of the last one.
	Count int         `json:"count,omitempty"`
	Last  metav1.Time `json:"last,omitzero"`

	Method string `json:"method"`
	Path   string `json:"path"`
}

// Answered is what became of a request.
type Answered struct {
	// Code is the status it is answered with by the proxy, or 200 when it is
	// forwarded. Outcome says so in a word.
	Code    int    `json:"code"`
	Outcome string `json:"outcome"`
	// Answer says why, and Next what to do about it; empty when there is nothing to be done.
	Answer string `json:"answer,omitempty"`
	Next   string `json:"next,omitempty"`
	// Message is what the client is told when the request does not get as far as
	// authentication.
	Message string `json:"message,omitempty"`
}

// Place is what a path means.
type Place struct {
	// Mapping is the entry of the mapping file; empty: none.
	Mapping string `json:"mapping,omitempty"`
	// Cluster is what the path names, LogicalCluster the logical cluster that is.
	Cluster        string         `json:"cluster,omitempty"`
	LogicalCluster string         `json:"logicalCluster,omitempty"`
	Shard          string         `json:"shard,omitempty"`
	Type           *WorkspaceType `json:"type,omitempty"`
	// Services is the shard whose virtual workspaces it leads to, Mount that it
	// leads to a host that a tenant mounted.
	Services string `json:"services,omitempty"`
	Mount    bool   `json:"mount,omitempty"`
}

// WorkspaceType is a workspace's type.
type WorkspaceType struct {
	Name string `json:"name"`
	// Path is as the workspace says it, Owner the logical cluster that is.
	Path  string `json:"path,omitempty"`
	Owner string `json:"owner,omitempty"`
	Error string `json:"error,omitempty"`
}

// withheld replaces what a workspace's administrators may not see.
const withheld = "only the operator of the proxy may see the reason"

// explainRefusal explains a refusal that was kept. confined leaves out what a workspace's
// administrators may not see.
func explainRefusal(instance string, f *authn.Refusal, now []authstatus.Authenticator, confined bool) *Explanation {
	e := &Explanation{
		Instance:     instance,
		AskedRequest: AskedRequest{ID: f.Decision.ID, Time: metav1.NewTime(f.Time), Count: f.Count, Last: metav1.NewTime(f.Last), Method: f.Method, Path: f.Path},
		Place:        PlaceOf(&f.Target, f.ShardRoute), Credential: f.Presented,
	}
	if cluster, _, err := lookup.FindClusterAnywhere(f.Path); err == nil {
		e.Place.Cluster = cluster
	}
	e.AddDecision(f.Decision, confined)
	e.applying(now, confined)
	e.summarize()
	return e
}

// AddDecision adds what was decided. With confined, it leaves out what a workspace's
// administrators are not told.
func (e *Explanation) AddDecision(d *authn.Decision, confined bool) {
	e.Code, e.Outcome, e.Guard, e.Versions = d.Status, d.Result(), d.Guarded, d.Versions
	e.User, e.AssertedBy = identity.UserInfo(d.User), d.AssertedBy
	for _, v := range d.Verdicts {
		if confined && v.Private {
			v.Reason = withheld
		}
		v.Authenticator = e.Place.ownersPath(v.Authenticator)
		e.Verdicts = append(e.Verdicts, v)
	}
}

// applying adds the states of the authenticators that may be asked. confined leaves out the
// operator's authenticators, which verdicts already mention, and tells only of an issuer whether
// it works.
func (e *Explanation) applying(now []authstatus.Authenticator, confined bool) {
	for _, s := range now {
		if confined && !s.Workspace {
			continue
		}
		s.Name = e.Place.ownersPath(s.Name)
		if s.Issuer != nil && confined {
			s.Issuer = &issuer.Status{URL: s.Issuer.URL, State: s.Issuer.State}
		}
		e.Authenticators = append(e.Authenticators, s)
	}
}

// PlaceOf is what is known of a target, and of the shard whose virtual workspaces were
// asked for (empty: none was).
func PlaceOf(t *index.Target, shardRoute string) Place {
	p := Place{LogicalCluster: t.Cluster, Services: shardRoute, Mount: t.Mount != nil}
	if t.Shard != nil {
		p.Shard = t.Shard.Name
	}
	if t.Type.Name != "" || t.Type.Err != nil {
		p.Type = &WorkspaceType{Name: t.Type.Name, Path: t.Type.Path, Owner: t.Type.Cluster}
		if t.Type.Err != nil {
			p.Type.Error = t.Type.Err.Error()
		}
	}
	return p
}

// AddAuthn adds what an Explainer found out.
func (e *Explanation) AddAuthn(told *authn.Explanation) {
	e.Credential, e.Notes = told.Presented, told.Notes
	e.AddDecision(told.Decision, false)
	e.applying(told.Applying, false)
	e.summarize()
}
