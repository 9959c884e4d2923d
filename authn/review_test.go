package authn

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
	"frontproxy/authn/webhook"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// reviewed is a review's result, for comparison.
type reviewed struct {
	Outcome   Outcome
	User      user.Info
	Audiences []string
}

// TestReview: every kind of authenticator, for every audience, at every kind of target.
func TestReview(t *testing.T) {
	o := newOperators(t, "static-token,carol,3,\"ops,system:masters\"\nstatic-account,system:serviceaccount:default:bot,4\n")
	key, oidcToken := o.accounts, o.oidcToken
	server := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		status := authenticationv1.TokenReviewStatus{User: authenticationv1.UserInfo{Username: "erin"}}
		switch q.Spec.Token {
		case "unaware":
			status.Authenticated = true
		case "for-vault":
			status.Audiences = token.Audiences(q.Spec.Audiences, []string{"vault"})
			status.Authenticated = len(status.Audiences) > 0
		}
		text, _ := json.Marshal(status)
		tokentest.Says(string(text))(w, q)
	})
	hook, err := webhook.New(webhook.Config{ConfigFile: server.Kubeconfig(t, server.URL+"/authenticate"), TTL: 2 * time.Minute, Audiences: []string{apiAudience}})
	if err != nil {
		t.Fatal(err)
	}
	ofType := jwtOf(iss)
	members := fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{
		iss: {fakeToken{name: "type", users: map[string]user.Info{ofType: &user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", "system:masters"}}}}},
	}}}
	a, err := New(Config{Tokens: o.tokens, Webhook: hook, Types: members, APIAudiences: []string{apiAudience}, DropGroups: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}

	home := &index.Target{Cluster: "home"}
	other := &index.Target{Cluster: "other"}
	team := &index.Target{Cluster: "team1", Type: index.Type{Cluster: "root", Name: "team", Path: "root"}}
	authenticated := []string{user.AllAuthenticated}
	carol := &user.DefaultInfo{Name: "carol", UID: "3", Groups: []string{"ops", user.AllAuthenticated}}
	dave := &user.DefaultInfo{Name: "i0:dave", Groups: authenticated}
	erin := &user.DefaultInfo{Name: "erin", Groups: authenticated}
	local := &user.DefaultInfo{
		Name: "system:serviceaccount:default:bot", UID: "u", Groups: []string{user.AllAuthenticated, "system:serviceaccounts", "system:serviceaccounts:default"},
		Extra: map[string][]string{identity.ClusterNameKey: {"home"}, identity.ScopesKey: {"cluster:home"}, user.CredentialIDKey: {"JTI=1"}},
	}
	global := &user.DefaultInfo{
		Name: "system:kcp:serviceaccount:home:default:bot", UID: "u", Groups: []string{user.AllAuthenticated, "system:cluster:home"},
		Extra: map[string][]string{identity.ClusterNameKey: {"home"}, user.CredentialIDKey: {"JTI=1"}},
	}
	alice := &user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", user.AllAuthenticated},
		Extra: map[string][]string{identity.ScopesKey: {"cluster:team1"}, identity.ClusterNameKey: {"team1"}}}

	api, vault, both := []string{apiAudience}, []string{"vault"}, []string{"vault", apiAudience}
	good := func(u user.Info, audiences ...string) reviewed { return reviewed{Accepted, u, audiences} }
	refused := reviewed{Outcome: Refused}
	for _, tt := range []struct {
		name, token string
		target      *index.Target
		// of reviews that ask for no audience, the API's, another one, and this before the API's
		none, api, vault, both reviewed
	}{
		{"token file", "static-token", other, good(carol, api...), good(carol, api...), refused, good(carol, api...)},
		{"token file, where a type is", "static-token", team, good(carol, api...), good(carol, api...), refused, good(carol, api...)},
		{"token file, an account of nowhere", "static-account", other, refused, refused, refused, refused},
		{"OIDC", oidcToken, other, good(dave, api...), good(dave, api...), refused, good(dave, api...)},
		{"account at home", key.token(t, "home", apiAudience), home, good(local, api...), good(local, api...), refused, good(local, api...)},
		{"account elsewhere", key.token(t, "home", apiAudience), other, good(global, api...), good(global, api...), refused, good(global, api...)},
		{"account where a type is", key.token(t, "home", apiAudience), team, good(global, api...), good(global, api...), refused, good(global, api...)},
		{"account, for another audience", key.token(t, "home", "vault"), home, refused, refused, good(local, vault...), good(local, vault...)},
		{"account, for both", key.token(t, "home", apiAudience, "vault"), other, good(global, api...), good(global, api...), good(global, vault...), good(global, both...)},
		{"account of a system cluster", key.token(t, "system:admin", apiAudience), other, refused, refused, refused, refused},
		{"webhook that knows no audiences", "unaware", other, good(erin, api...), good(erin, api...), refused, good(erin, api...)},
		{"webhook", "for-vault", other, refused, refused, good(erin, vault...), good(erin, vault...)},
		{"user of the type", ofType, team, good(alice, api...), good(alice, api...), refused, good(alice, api...)},
		{"user of the type elsewhere", ofType, other, refused, refused, refused, refused},
		{"garbage", "garbage", team, refused, refused, refused, refused},
		{"garbage of the type's issuer", jwtOf(iss) + "x", team, refused, refused, refused, refused},
	} {
		for n, want := range []reviewed{tt.none, tt.api, tt.vault, tt.both} {
			audiences := [][]string{nil, api, vault, both}[n]
			r := a.Review(t.Context(), tt.target, tt.token, audiences)
			if diff := cmp.Diff(want, reviewed{r.Outcome, r.User, r.Audiences}); diff != "" {
				t.Errorf("%s, for %q (-want +got):\n%s", tt.name, audiences, diff)
			}
			if (r.Decision != nil) != (r.Outcome == Refused) {
				t.Errorf("%s, for %q: decision %+v", tt.name, audiences, r.Decision)
			}
			if r.Decision != nil && (r.Decision.ID != "" || strings.Contains(reasonsOf(r.Decision), tt.token)) {
				t.Errorf("%s, for %q: id %q, reasons %s", tt.name, audiences, r.Decision.ID, reasonsOf(r.Decision))
			}
		}
	}
	for i := range a.refusals.rings {
		if a.refusals.rings[i].next != 0 {
			t.Error("reviews are kept as refusals")
		}
	}
}

func reasonsOf(d *Decision) (all string) {
	for _, v := range d.Verdicts {
		all += v.Authenticator + ": " + v.Reason + "\n"
	}
	return all
}

// TestReviewUndecided: what may yet be known is never refused, unless it is known already that
// the token is for another audience.
func TestReviewUndecided(t *testing.T) {
	team := &index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team", Path: "root"}}
	unread := &index.Target{Cluster: "c3", Type: index.Type{Name: "team", Path: "root:x", Err: index.ErrNotSynced}}
	down := fakeToken{name: "down", undecided: true}
	typeOf := func(members ...token.Authenticator) fakeTypes {
		return fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{iss: members}}}
	}
	for name, tt := range map[string]struct {
		config    Config
		target    *index.Target
		audiences []string
		want      Outcome
	}{
		"an issuer of the type":       {Config{Types: typeOf(down)}, team, nil, Undecided},
		"for another audience":        {Config{Types: typeOf(down)}, team, []string{"vault"}, Refused},
		"an operator's authenticator": {Config{Tokens: []token.Authenticator{down}}, team, nil, Undecided},
		"the webhook":                 {Config{Webhook: down}, team, nil, Undecided},
		"the type":                    {Config{Types: typeOf()}, unread, nil, Undecided},
		"nobody applies":              {Config{Types: typeOf()}, &index.Target{Cluster: "c2"}, nil, Skipped},
		"nothing is configured":       {Config{}, team, nil, Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			tt.config.APIAudiences = []string{apiAudience}
			a, err := New(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			r := a.Review(t.Context(), tt.target, jwtOf(iss), tt.audiences)
			if r.Outcome != tt.want || r.User != nil {
				t.Fatalf("outcome %v, user %v; want %v", r.Outcome, r.User, tt.want)
			}
			if tt.want == Undecided && r.Decision.Status != http.StatusServiceUnavailable {
				t.Errorf("decision %+v", r.Decision)
			}
		})
	}
}

// recorder is an authenticator that knows every token, and keeps what it was asked.
type recorder struct{ asked []token.Token }

func (*recorder) Name() string { return "recorder" }

func (r *recorder) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	r.asked = append(r.asked, t)
	return &user.DefaultInfo{Name: "anybody"}, time.Time{}, nil
}

// TestReviewTakesTheTokenOnly: what could not be presented in a header as it is, is no token,
// and nobody is asked about it; each workspace has a share of what is scarce.
func TestReviewTakesTheTokenOnly(t *testing.T) {
	asked := &recorder{}
	a, err := New(Config{Tokens: []token.Authenticator{asked}})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"", " ", "a b", " a", "a ", "a\tb", "a\r\nX-Remote-User: admin", "a\n", "a\x00b", "a\x7f", "a\u00a0", "\u2003a"} {
		if r := a.Review(t.Context(), &index.Target{Cluster: "c1"}, raw, nil); r.Outcome != Refused || r.User != nil || len(asked.asked) != 0 {
			t.Errorf("%q: outcome %v, asked about %v", raw, r.Outcome, asked.asked)
		}
	}
	clients := map[string]bool{}
	for _, cluster := range []string{"c1", "c2"} {
		for _, raw := range []string{"a", "Bearer", "a,b", "pässword", "a=b"} {
			if r := a.Review(t.Context(), &index.Target{Cluster: cluster}, raw, nil); r.Outcome != Accepted || r.User.GetName() != "anybody" {
				t.Errorf("%q: outcome %v, user %v", raw, r.Outcome, r.User)
			}
			last := asked.asked[len(asked.asked)-1]
			if last.Raw != raw || last.Cluster != cluster || last.Client == "" || last.Purpose != token.ForReview {
				t.Errorf("asked about %+v", last)
			}
			clients[last.Client] = true
		}
	}
	if len(clients) != 2 {
		t.Errorf("the reviews of two workspaces count for %d clients", len(clients))
	}
}

// TestReviewWithoutAudiences: an API that has none checks none that nobody asks for.
func TestReviewWithoutAudiences(t *testing.T) {
	a, err := New(Config{Tokens: []token.Authenticator{&recorder{}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Review(t.Context(), &index.Target{Cluster: "c1"}, "a", nil); r.Outcome != Accepted || r.Audiences != nil {
		t.Errorf("none: %+v", r)
	}
	if r := a.Review(t.Context(), &index.Target{Cluster: "c1"}, "a", []string{"vault"}); r.Outcome != Refused {
		t.Errorf("another: %+v", r)
	}
}

// TestReviewEndsWithItsContext: a review may wait no longer than who asks.
func TestReviewEndsWithItsContext(t *testing.T) {
	waits := waitsForContext{}
	a, err := New(Config{Tokens: []token.Authenticator{waits}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := a.Review(ctx, &index.Target{Cluster: "c1"}, "a", nil); r.Outcome != Undecided {
		t.Errorf("%+v", r)
	}
}

type waitsForContext struct{}

func (waitsForContext) Name() string { return "waits" }

func (waitsForContext) AuthenticateToken(ctx context.Context, _ token.Token) (user.Info, time.Time, error) {
	<-ctx.Done()
	return nil, time.Time{}, errors.Join(token.ErrUndecided, ctx.Err())
}
