package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/index"
)

// lasting is a TokenAuthenticator that can tell whether what it accepted until
// a time still stands, expiry aside.
type lasting interface {
	TokenAuthenticator
	// Stands returns nil when the token is not of its kind, or was good just
	// before until and what it rests on still exists; an error that wraps
	// ErrUndecided when it could not tell now; any other when it does not stand.
	Stands(ctx context.Context, t Token, until time.Time) error
}

// Recheck decides again about a request that d admitted and that is still under
// way: a watch, or an upgraded connection. It returns nil as long as the request
// is admitted or nobody can tell whether it is, and else why it is not any more;
// then the request should be ended. t is what the request's path names now.
//
// The end of a token or certificate by itself ends nothing, as with
// kube-apiserver, unless Config.EndAtExpiry. After it, what is still noticed is
// that a service account is gone.
func (a *Authenticator) Recheck(r *http.Request, t *index.Target, d *Decision) *Decision {
	if d.User == nil {
		return nil // passed through: the shard admitted it
	}
	if a.ended(d) {
		return a.afterEnd(r, t, d)
	}
	fresh := a.Decide(r, t)
	switch {
	case fresh.Status == http.StatusServiceUnavailable || fresh.PassThrough:
		return nil
	case fresh.User != nil && sameUser(fresh.User, d.User):
		return nil
	case fresh.User != nil:
		return a.end(r, t, d, fmt.Sprintf("the credential stands for another identity now: %q", fresh.User.GetName()))
	case a.ended(d):
		return a.afterEnd(r, t, d) // it ended meanwhile
	}
	return fresh
}

func (a *Authenticator) ended(d *Decision) bool {
	return !d.Until.IsZero() && !a.now().Before(d.Until)
}

// afterEnd is for what was admitted until a time that has passed.
func (a *Authenticator) afterEnd(r *http.Request, t *index.Target, d *Decision) *Decision {
	if a.endAtExpiry {
		return a.end(r, t, d, "the credential ended at "+d.Until.UTC().Format(time.RFC3339))
	}
	if d.By != byToken {
		return nil
	}
	raw, err := bearer(r)
	if err != nil || raw == "" {
		return nil
	}
	token := ParseToken(raw)
	for _, m := range a.tokens {
		l, ok := m.(lasting)
		if !ok {
			continue
		}
		if err := l.Stands(r.Context(), token, d.Until); err != nil && !errors.Is(err, ErrUndecided) {
			return a.end(r, t, d, err.Error())
		}
	}
	return nil
}

// end makes the Decision that ends a request, and keeps it to be explained.
func (a *Authenticator) end(r *http.Request, t *index.Target, d *Decision, reason string) *Decision {
	ended := &Decision{Status: http.StatusUnauthorized, Verdicts: []Verdict{{d.By, Refused, reason, d.By != byWorkspace}}}
	a.refusals.add(r, t, ended, presented(r))
	return ended
}

// sameUser compares who the identities are and what they may do by their
// groups; extras differ from one look to the next.
func sameUser(a, b user.Info) bool {
	return a.GetName() == b.GetName() && a.GetUID() == b.GetUID() && slices.Equal(slices.Sorted(slices.Values(a.GetGroups())), slices.Sorted(slices.Values(b.GetGroups())))
}
