package authn

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

// Review is the result of judging a token for somebody to whom it was shown (TokenReview).
type Review struct {
	// Outcome is Accepted, Refused or Undecided, as for a request with the token and nothing
	// else, or Skipped: no authenticator applies, so that only the shard may know the token.
	Outcome Outcome
	// User is the identity, as everybody in the workspace may tell it from all others (see
	// identity.ForReview); nil unless the outcome is Accepted. Read-only.
	User user.Info
	// Audiences are those asked for that the token is for.
	Audiences []string
	// Decision has the reasons why the outcome is Refused or Undecided, which are for operators;
	// else it is nil. It has no id, and is kept nowhere: nobody was refused.
	Decision *Decision
}

// Review says whose token raw is for the logical cluster of t, by the code that decides about
// requests: as if a request had come with this token, and without a certificate, any other
// header or an address. So nothing of who asks counts for the token's holder.
//
// A token must be for one of the audiences; none given: one of the API's. What does not know
// its tokens' audiences accepts them for the API's, as in kube-apiserver. What the answer may
// have to wait for ends with ctx; it is shared out by the logical cluster.
func (a *Authenticator) Review(ctx context.Context, t *index.Target, raw string, audiences []string) *Review {
	if len(audiences) == 0 {
		audiences = a.config.APIAudiences
	}
	q := evaluation{
		// With an empty address, the reviews of all tenants would have one share between them.
		request:   Request{Header: http.Header{"Authorization": {"Bearer " + raw}}, RemoteAddr: "reviews in " + t.Cluster, Target: *t},
		purpose:   token.ForReview,
		audiences: &reviewedAudiences{wanted: audiences, api: a.config.APIAudiences},
	}
	if !reviewable(raw, q.request.Header) {
		q.malformed = true
		q.addVerdict("credentials", Refused, "the text is no bearer token: it is empty, or has white space or control characters")
		return &Review{Outcome: Refused, Decision: q.refuse()}
	}
	d := a.decide(ctx, &q)
	switch {
	case d.User != nil:
		return a.accept(&q, d)
	case d.PassThrough:
		return &Review{Outcome: Skipped}
	case d.Status == http.StatusServiceUnavailable:
		return &Review{Outcome: Undecided, Decision: d}
	}
	return &Review{Outcome: Refused, Decision: d}
}

// accept makes the Review of a token that d admits.
func (a *Authenticator) accept(q *evaluation, d *Decision) *Review {
	u, err := identity.ForReview(d.User, q.request.Target.Cluster)
	if err != nil {
		q.addVerdict(d.Authenticator, Refused, err.Error())
		return &Review{Outcome: Refused, Decision: q.refuse()}
	}
	return &Review{Outcome: Accepted, User: u, Audiences: q.audiences.found}
}

// reviewable reports whether raw could be presented in the header, unchanged.
func reviewable(raw string, header http.Header) bool {
	if strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return false
	}
	read, err := bearer(header)
	return err == nil && read != "" && read == raw
}

// reviewedAudiences are the audiences of one review.
type reviewedAudiences struct {
	wanted, api []string
	// found are those wanted that the token is for, as the authenticator says that was asked
	// last: of an accepted token, the one that accepted it.
	found []string
}

// authenticate has m judge the token by the audiences wanted.
func (r *reviewedAudiences) authenticate(ctx context.Context, m token.Authenticator, t token.Token) (user.Info, error) {
	implicit := token.Audiences(r.wanted, r.api)
	aware, ok := m.(token.AudienceAuthenticator)
	switch {
	case len(r.wanted) == 0: // the API has none
		u, _, err := m.AuthenticateToken(ctx, t)
		return u, err
	case !ok && len(implicit) == 0:
		return nil, r.errNotFor()
	case !ok:
		r.found = implicit
		u, _, err := m.AuthenticateToken(ctx, t)
		return u, err
	}
	u, found, err := aware.AuthenticateFor(ctx, t, r.wanted)
	if u != nil && err == nil && len(found) == 0 {
		if found = implicit; len(found) == 0 {
			return nil, r.errNotFor()
		}
	}
	r.found = slices.Clone(found)
	return u, err
}

// errNotFor is the refusal of a token that is for the API's audiences at most.
func (r *reviewedAudiences) errNotFor() error {
	return fmt.Errorf("audience: its tokens are for %s, the review asks for %s", clip.Quoted(r.api), clip.Quoted(r.wanted))
}
