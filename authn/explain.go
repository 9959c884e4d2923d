package authn

import (
	"context"
	"errors"
	"fmt"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// Explanation is the Decision about a credential in hand, and how it came about.
type Explanation struct {
	Decision  *Decision
	Presented CredentialSummary
	// Applying is what may be asked about the target, with its states now.
	Applying []authstatus.Authenticator
	// Notes say what a Change has no effect on.
	Notes []string
}

// Explain decides by the same code as Decide, and records the verdict of every authenticator, also
// of one that accepts. It keeps nothing of the request. With a change, it decides as if that had been
// applied in the cluster of the target's type. An error says why the change cannot be tried.
func (a *Authenticator) Explain(ctx context.Context, r Request, change *workspacetypes.Change) (*Explanation, error) {
	explainer, notes := a, []string(nil)
	if change != nil {
		changed, err := a.changed(&r.Target, change) //nolint:contextcheck // upstream keeps the context it is given: none may end
		if err != nil {
			return nil, err
		}
		defer changed.Close()
		asIf := *a
		asIf.config.Types = changed
		explainer, notes = &asIf, changed.Notes
	}
	q := evaluation{request: r, purpose: token.ForExplanation}
	e := &Explanation{Decision: explainer.decide(ctx, &q), Notes: notes}
	e.Presented = q.presented
	e.Presented.certificate(r.Certificates)
	if raw, err := bearer(r.Header); err == nil {
		e.Presented.details(raw)
	}
	e.Applying = explainer.AuthenticatorsFor(&r.Target.Type)
	return e, nil
}

// changed is what the types would be with the change.
func (a *Authenticator) changed(t *index.Target, change *workspacetypes.Change) (*workspacetypes.DryRun, error) {
	types, ok := a.config.Types.(*workspacetypes.Index)
	switch {
	case !ok:
		return nil, errors.New("the feature gate WorkspaceAuthentication is off: no configuration has an effect")
	case t.Cluster == "":
		return nil, errors.New("the path contains no workspace, so no workspace type applies")
	case t.Type.Err != nil:
		return nil, fmt.Errorf("the workspace's type is unknown: %w", t.Type.Err)
	case t.Type.Name == "":
		return nil, errors.New("the workspace has no type")
	}
	return types.DryRun(t.Type, change)
}
