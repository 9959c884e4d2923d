package zpages

import (
	"fmt"
	"net/http"
	"strings"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// summarize sets Answer and Next by the rest of the explanation: they say nothing that its reader
// may not know.
func (e *Explanation) summarize() {
	switch {
	case e.Code == http.StatusOK && e.User != nil:
		e.Answer, e.Next = "the server gets it as "+e.User.Username, "what that user may do there, RBAC in the workspace says"
	case e.Code == http.StatusOK:
		e.Answer = "no authenticator applies to it, so it goes on as it came, and the server decides who is asking"
	case e.Code == http.StatusServiceUnavailable:
		e.summarizeUndecided()
	case e.Credential.Kind == "" && e.Credential.Serial == "":
		e.Answer, e.Next = "the request has no credential, and this target requires one", "log in first"
	default:
		e.summarizeRefused()
	}
}

func (e *Explanation) summarizeUndecided() {
	v := e.verdict(authn.Undecided, func(*authn.Verdict) bool { return true })
	if v == nil {
		e.Answer = "it is not known now whether the request needs a credential"
		return
	}
	e.Answer, e.Next = "could not decide: "+said(v), "the client may try again; the states of authenticators are below and in /statusz"
	if v.Reason == withheld {
		e.Next = askOperator
	}
}

// askOperator is the next step for those from whom the reason is withheld.
const askOperator = "ask the operator of the proxy, with the id of the refusal"

func (e *Explanation) summarizeRefused() {
	switch v := e.verdict(authn.Refused, func(v *authn.Verdict) bool { return !ofType(v) }); {
	case v != nil && v.Reason == withheld:
		e.Answer, e.Next = said(v), askOperator
	case v != nil:
		e.Answer, e.Next = said(v), nextAfter(v.Reason)
	case e.Credential.Kind == authn.OpaqueKind:
		e.Answer, e.Next = "this is no JWT, and no authenticator here knows it", "if an OIDC issuer gave it, use the ID token instead of the access token"
	case e.Credential.Kind == "":
		e.Answer, e.Next = "no authenticator here knows the client certificate", "use one of a CA in --client-ca-file"
	case e.verdict(authn.Skipped, func(v *authn.Verdict) bool { return v.Reason == authn.GateOff }) != nil:
		e.Answer = fmt.Sprintf("no authenticator here trusts issuer %q; if the type %s names it, that has no effect: WorkspaceAuthentication is off", e.Credential.Issuer, e.Place.Type)
		e.Next = "start the proxy with --feature-gates=WorkspaceAuthentication=true, or use a token of an issuer of the operator's"
	case e.Place.Type != nil && e.verdict(authn.Refused, ofType) != nil:
		e.Answer = fmt.Sprintf("neither the operator nor the workspace type %s trusts issuer %q", e.Place.Type, e.Credential.Issuer)
		e.Next = "use a token of an issuer below, or have the owner of the type name this one"
	default:
		e.Answer, e.Next = fmt.Sprintf("no authenticator here trusts issuer %q", e.Credential.Issuer), "use a token of an issuer of the operator's"
	}
}

// said is the reason, and whose it is.
func said(v *authn.Verdict) string { return v.Reason + " (" + v.Authenticator + ")" }

// verdict returns the first verdict with the outcome that is one of those wanted; nil: there is
// none.
func (e *Explanation) verdict(outcome authn.Outcome, wanted func(*authn.Verdict) bool) *authn.Verdict {
	for i := range e.Verdicts {
		if v := &e.Verdicts[i]; v.Outcome == outcome && wanted(v) {
			return v
		}
	}
	return nil
}

// ofType reports whether a verdict is about the workspace's type as a whole.
func ofType(v *authn.Verdict) bool {
	return strings.HasPrefix(v.Authenticator, workspacetypes.TypeName(&index.Type{}))
}

// nextSteps are what to do about refusals, by a part of the reason. The tests of the whole
// program hold them against what the authenticators say.
var nextSteps = []struct{ reason, next string }{
	{"audience", "use a token for one of these audiences, or have the configuration accept the token's"},
	{"expired", "log in again"},
	{"is not valid before", "wait, or set the clocks of the issuer and of this machine"},
	{"no key with id", "compare the key id with the keys that the issuer publishes (jwks_uri): another server may have issued the token"},
	{"publishes no", "look at the keys that the issuer publishes (jwks_uri)"},
	{"signature", "another server issued the token, or it was changed on the way"},
	{"signed by unknown authority", "use a certificate of a CA in --client-ca-file"},
	{"does not exist", "use the token of an account that exists"},
	{"Authorization header", "send one well-formed bearer token"},
}

// nextAfter returns what to do about a refusal for a reason.
func nextAfter(reason string) string {
	for _, s := range nextSteps {
		if strings.Contains(reason, s.reason) {
			return s.next
		}
	}
	return "change the token's claims or the configuration; explain --dry-run tries a change"
}

// String is the type as people write it.
func (t *WorkspaceType) String() string { return strings.TrimPrefix(t.Path+":"+t.Name, ":") }

// ownersPath replaces, in the name of an authenticator of the workspace's type, the logical
// cluster of the type's owner by its path.
func (p *Place) ownersPath(name string) string {
	if p.Type == nil || p.Type.Owner == "" || p.Type.Path == "" {
		return name
	}
	for _, kind := range []string{"workspace ", "configuration "} {
		if rest, ok := strings.CutPrefix(name, kind+p.Type.Owner+"/"); ok {
			return kind + p.Type.Path + "/" + rest
		}
	}
	return name
}
