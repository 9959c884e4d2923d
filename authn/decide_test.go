package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/clientcert"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/certstest"
)

// fakeToken accepts, refuses or cannot decide about tokens by their text.
type fakeToken struct {
	name      string
	users     map[string]user.Info
	undecided bool
	asked     *[]string
}

func (f fakeToken) Name() string { return f.name }

func (f fakeToken) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	if f.asked != nil {
		*f.asked = append(*f.asked, f.name)
	}
	if f.undecided {
		return nil, time.Time{}, fmt.Errorf("%w: the issuer was never reached", token.ErrUndecided)
	}
	if u := f.users[t.Raw]; u != nil {
		return u, time.Unix(1e10, 0), nil
	}
	if f.users != nil {
		return nil, time.Time{}, errors.New("wrong signature")
	}
	return nil, time.Time{}, nil
}

// fakeTypes is a TypeSource with one type, "root"/"team".
type fakeTypes struct {
	types *workspacetypes.TypeAuthenticators
	err   error
}

func (f fakeTypes) Authenticators(t index.Type) (*workspacetypes.TypeAuthenticators, error) {
	if (t.Cluster != "root" || t.Name != "team") && f.err == nil {
		return nil, nil
	}
	return f.types, f.err
}

func (fakeTypes) DescribeType(index.Type) []authstatus.Authenticator { return nil }

const iss = "https://issuer.example"

// jwtOf is an unsigned token of the shape that token.Parse reads.
func jwtOf(issuer string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + b64(`{"iss":"`+issuer+`"}`) + ".c2ln"
}

func TestDecide(t *testing.T) {
	clients, proxies, strangers := certstest.New(t, "clients"), certstest.New(t, "proxies"), certstest.New(t, "strangers")
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:masters"}}
	aliceCert := clients.Client(t, time.Hour, "alice", "devs", "system:masters")
	proxyCert := proxies.Client(t, time.Hour, "proxy")
	good := jwtOf(iss)
	accepts := fakeToken{name: "good", users: map[string]user.Info{good: alice}}
	refuses := fakeToken{name: "bad", users: map[string]user.Info{}}
	undecided := fakeToken{name: "down", undecided: true}
	withTypes := func(members ...token.Authenticator) Config {
		return Config{ClientCAs: clients, Types: fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{iss: members}}}}
	}
	withReason := withTypes(refuses)
	withReason.Types.(fakeTypes).types.Undecided = []string{`authentication configuration "gone" does not exist`}
	team := index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team", Path: "root"}}
	other := index.Target{Cluster: "c2", Type: index.Type{Cluster: "root", Name: "other", Path: "root"}}
	unread := index.Target{Cluster: "c3", Type: index.Type{Name: "team", Path: "root:x", Err: index.ErrNotSynced}}
	moving := index.Target{Cluster: "c1", Type: index.Type{Err: index.ErrConflict}}
	scopedAlice := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}, Extra: map[string][]string{identity.ScopesKey: {"cluster:c1"}, identity.ClusterNameKey: {"c1"}}}
	globalAlice := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}}
	withWebhook := func(c Config, w token.Authenticator) Config { c.Webhook = w; return c }
	withTokens := func(c Config, m ...token.Authenticator) Config { c.Tokens = m; return c }
	rh := Config{ClientCAs: clients, RequestHeader: &clientcert.RequestHeader{CAs: proxies, UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"},
		UIDHeaders: []string{"X-Remote-Uid"}, ExtraPrefixes: []string{"X-Remote-Extra-"}}}
	asserted := http.Header{"X-Remote-User": {"bob"}, "X-Remote-Group": {"ops", "system:masters"}, "X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:x"}}
	tokenHeader := http.Header{"Authorization": {"Bearer " + good}}
	passThrough := 0

	for name, tc := range map[string]struct {
		config  Config
		target  index.Target
		cert    *x509.Certificate
		headers http.Header
		want    user.Info
		by      string
		status  int    // 0: admitted, passThrough: want is nil
		reason  string // of a refusal: a part of one verdict
	}{
		"nothing configured passes through":                       {headers: tokenHeader, status: passThrough},
		"gate off: a type means nothing":                          {config: Config{ClientCAs: clients}, target: team, headers: tokenHeader, status: passThrough},
		"type without configurations passes through":              {config: withTypes(accepts), target: other, headers: tokenHeader, status: passThrough},
		"client certificate":                                      {config: withTypes(), target: team, cert: aliceCert, want: globalAlice, by: clientcert.ByClientCertificate},
		"client certificate beside a bad token":                   {config: withTypes(refuses), target: team, cert: aliceCert, headers: tokenHeader, want: globalAlice, by: clientcert.ByClientCertificate},
		"stranger's certificate":                                  {config: withTypes(accepts), target: other, cert: strangers.Client(t, time.Hour, "alice"), status: 401, reason: "unknown authority"},
		"stranger's certificate beside a good token":              {config: withTypes(accepts), target: team, cert: strangers.Client(t, time.Hour, "alice"), headers: tokenHeader, want: scopedAlice, by: byWorkspace},
		"a token where only certificates are known":               {config: Config{ClientCAs: clients}, target: other, cert: strangers.Client(t, time.Hour, ""), headers: tokenHeader, status: 401, reason: "unknown authority"},
		"expired certificate":                                     {config: withTypes(), target: other, cert: clients.Client(t, -time.Minute, "alice"), status: 401, reason: "expired"},
		"certificate without a name":                              {config: withTypes(), target: other, cert: clients.Client(t, time.Hour, ""), status: 401, reason: "no common name"},
		"certificate whose name a header would change":            {config: withTypes(), target: other, cert: clients.Client(t, time.Hour, " system:admin"), status: 401, reason: "white space"},
		"requestheader certificate is no user":                    {config: rh, target: team, cert: proxyCert, status: 401, reason: "no user name header"},
		"requestheader asserts, and its groups are filtered":      {config: rh, target: team, cert: proxyCert, headers: asserted, by: clientcert.ByRequestHeader, want: &user.DefaultInfo{Name: "bob", Groups: []string{"ops", "system:authenticated"}, Extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:x"}}}},
		"user certificate asserts no headers":                     {config: rh, target: team, cert: aliceCert, headers: asserted, want: globalAlice, by: clientcert.ByClientCertificate},
		"identity headers without a certificate mean nothing":     {config: rh, target: team, headers: asserted, status: passThrough},
		"workspace token":                                         {config: withTypes(accepts), target: team, headers: tokenHeader, want: scopedAlice, by: byWorkspace},
		"second configuration of the issuer":                      {config: withTypes(refuses, undecided, accepts), target: team, headers: tokenHeader, want: scopedAlice, by: byWorkspace},
		"no credential where the type has configurations":         {config: withTypes(accepts), target: team, status: 401, reason: "has none"},
		"no credential, but a configuration is missing":           {config: withReason, target: team, status: 401, reason: "gone"},
		"refused, and a configuration is missing":                 {config: withReason, target: team, headers: tokenHeader, status: 503, reason: "wrong signature"},
		"refused by all":                                          {config: withTypes(refuses, refuses), target: team, headers: tokenHeader, status: 401, reason: "wrong signature"},
		"one cannot decide":                                       {config: withTypes(refuses, undecided), target: team, headers: tokenHeader, status: 503, reason: "never reached"},
		"issuer that the type does not name":                      {config: withTypes(accepts), target: team, headers: http.Header{"Authorization": {"Bearer " + jwtOf("https://other.example")}}, status: 401, reason: "https://other.example"},
		"type never read, no credential":                          {config: withTypes(accepts), target: unread, status: 503, reason: "not all shards"},
		"type itself not known":                                   {config: withTypes(accepts), target: index.Target{Cluster: "c4", Type: index.Type{Err: index.ErrUnknown}}, headers: tokenHeader, status: 503, reason: "unknown"},
		"type whose owner is gone adds nothing":                   {config: withTypes(accepts), target: index.Target{Cluster: "c4", Type: index.Type{Name: "team", Path: "gone", Err: index.ErrUnknown}}, headers: tokenHeader, status: passThrough},
		"type never read, token":                                  {config: withTypes(accepts), target: unread, headers: tokenHeader, status: 503, reason: "not all shards"},
		"type never read, good certificate":                       {config: withTypes(accepts), target: unread, cert: aliceCert, want: globalAlice, by: clientcert.ByClientCertificate},
		"type never read, malformed credential":                   {config: withTypes(accepts), target: unread, headers: http.Header{"Authorization": {"Bearer a", "Bearer b"}}, status: 401, reason: "more than one"},
		"configurations never read":                               {config: Config{Types: fakeTypes{err: fmt.Errorf("%w: shard never read", token.ErrUndecided)}}, target: team, headers: tokenHeader, status: 503, reason: "never read"},
		"configurations never read, but a global token":           {config: withTokens(Config{Types: fakeTypes{err: token.ErrUndecided}}, accepts), target: team, headers: tokenHeader, want: globalAlice, by: byToken},
		"configurations never read, global tokens, no credential": {config: withTokens(Config{Types: fakeTypes{err: token.ErrUndecided}}, accepts), target: team, status: 401, reason: "could not decide"},
		"system: name does not hide another member's yes": {config: withTypes(fakeToken{name: "sys", users: map[string]user.Info{good: &user.DefaultInfo{Name: "system:admin"}}}, accepts),
			target: team, headers: tokenHeader, want: scopedAlice, by: byWorkspace},
		"system: name alone": {config: withTypes(fakeToken{name: "sys", users: map[string]user.Info{good: &user.DefaultInfo{Name: "system:admin"}}}), target: team, headers: tokenHeader, status: 401, reason: "system:"},
		"workspace identity without a cluster to tie it to":   {config: withTypes(accepts), target: index.Target{Type: team.Type}, headers: tokenHeader, status: 401, reason: "no logical cluster"},
		"two Authorization headers":                           {config: withTypes(accepts), target: team, headers: http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, status: 401, reason: "more than one"},
		"two Authorization headers where nothing applies":     {config: withTypes(accepts), target: other, headers: http.Header{"Authorization": {"Bearer a", "Bearer b"}}, status: passThrough},
		"global token is not scoped":                          {config: withTokens(withTypes(refuses), accepts), target: team, headers: tokenHeader, want: globalAlice, by: byToken},
		"global token member refuses, the workspace's admits": {config: withTokens(withTypes(accepts), refuses), target: team, headers: tokenHeader, want: scopedAlice, by: byWorkspace},
		"global tokens configured: no credential is refused":  {config: withTokens(Config{}, accepts), target: other, status: 401, reason: "has none"},
		"webhook admits": {config: withWebhook(withTypes(accepts), accepts), target: other, headers: tokenHeader, want: globalAlice, by: byToken},
		"webhook configured: no credential is refused":         {config: withWebhook(Config{}, accepts), target: other, status: 401, reason: "has none"},
		"webhook is not asked about the type's issuers":        {config: withWebhook(withTypes(refuses), accepts), target: team, headers: tokenHeader, status: 401, reason: "wrong signature"},
		"type in conflict, good certificate":                   {config: withTypes(accepts), target: moving, cert: aliceCert, want: globalAlice, by: clientcert.ByClientCertificate},
		"type in conflict, stranger's certificate":             {config: withTypes(accepts), target: moving, cert: strangers.Client(t, time.Hour, "alice"), status: 401, reason: "unknown authority"},
		"type in conflict, token of the type's issuer":         {config: withTypes(accepts), target: moving, headers: tokenHeader, status: 503, reason: "two shards"},
		"type in conflict, no credential":                      {config: Config{Types: fakeTypes{}}, target: moving, status: 503, reason: "two shards"},
		"type in conflict, no credential but certificates":     {config: withTypes(accepts), target: moving, cert: proxyCert, status: 401, reason: "two shards"},
		"type in conflict, global token":                       {config: withTokens(withTypes(refuses), accepts), target: moving, headers: tokenHeader, want: globalAlice, by: byToken},
		"type in conflict: the webhook gets no issuer's token": {config: withWebhook(withTypes(accepts), accepts), target: moving, headers: tokenHeader, status: 503, reason: "names the token's issuer"},
		"type in conflict: the webhook gets other tokens": {config: withWebhook(withTypes(accepts), fakeToken{name: "good", users: map[string]user.Info{"opaque": alice}}),
			target: moving, headers: http.Header{"Authorization": {"Bearer opaque"}}, want: globalAlice, by: byToken},
		"gate off, type in conflict: the webhook is asked": {config: withWebhook(Config{ClientCAs: clients}, accepts), target: moving, headers: tokenHeader, want: globalAlice, by: byToken},
		"webhook down": {config: withWebhook(withTypes(accepts), undecided), target: other, headers: tokenHeader, status: 503, reason: "never reached"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Instance = "pod-1"
			tc.config.DropGroups = []string{"system:masters"}
			a, err := New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "https://proxy/clusters/c1/api?x=y", nil)
			r.TLS = &tls.ConnectionState{}
			if tc.cert != nil {
				r.TLS.PeerCertificates = []*x509.Certificate{tc.cert}
			}
			if tc.headers != nil {
				r.Header = tc.headers.Clone()
			}
			before := r.Header.Clone()
			d := a.Decide(r.Context(), requestOf(r, &tc.target))
			if diff := cmp.Diff(before, r.Header); diff != "" {
				t.Errorf("Decide changed the request:\n%s", diff)
			}
			if tc.status != 0 {
				checkRefusal(t, a, d, tc.status, tc.reason)
				return
			}
			if d.Status != http.StatusOK || d.PassThrough != (tc.want == nil) || d.Authenticator != tc.by {
				t.Fatalf("got status %d, pass-through %t, by %q; verdicts %v", d.Status, d.PassThrough, d.Authenticator, d.Verdicts)
			}
			checkUser(t, tc.want, d.User)
		})
	}
}

// TestScopeOfUndecided: a workspace's issuer that is down is not the operator's concern, one
// of the operator's authenticators is, whatever else is down.
func TestScopeOfUndecided(t *testing.T) {
	down, refuses := fakeToken{name: "down", undecided: true}, fakeToken{name: "refuses", users: map[string]user.Info{}}
	r := httptest.NewRequest("GET", "https://proxy/clusters/c1/api", nil)
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("Authorization", "Bearer t")
	for name, tt := range map[string]struct {
		global, workspace fakeToken
		want              Scope
	}{
		"none":            {refuses, refuses, ""},
		"the operator's":  {down, refuses, Global},
		"the workspace's": {refuses, down, Workspace},
		"both":            {down, down, Global},
	} {
		types := fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{"": {tt.workspace}}}}
		a, err := New(Config{Tokens: []token.Authenticator{tt.global}, Types: types})
		if err != nil {
			t.Fatal(err)
		}
		target := index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team", Path: "root"}}
		if d := a.Decide(r.Context(), requestOf(r, &target)); d.Undecided != tt.want || (d.Status == http.StatusServiceUnavailable) != (tt.want != "") {
			t.Errorf("%s: scope %q of %d, want %q; verdicts %v", name, d.Undecided, d.Status, tt.want, d.Verdicts)
		}
	}
}

func checkUser(t *testing.T, want, got user.Info) {
	t.Helper()
	if want == nil || got == nil {
		if want != got {
			t.Errorf("identity: got %v, want %v", got, want)
		}
		return
	}
	plain := func(u user.Info) user.DefaultInfo {
		extra := map[string][]string{}
		for k, v := range u.GetExtra() {
			if k != user.CredentialIDKey {
				extra[k] = v
			}
		}
		return user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: extra}
	}
	if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

func checkRefusal(t *testing.T, a *Authenticator, d *Decision, status int, reason string) {
	t.Helper()
	if d.Status != status || d.User != nil || d.PassThrough {
		t.Fatalf("got status %d, user %v, pass-through %t; want %d; verdicts %v", d.Status, d.User, d.PassThrough, status, d.Verdicts)
	}
	said := fmt.Sprint(d.Verdicts)
	if !strings.Contains(said, reason) {
		t.Errorf("verdicts %q lack %q", said, reason)
	}
	if !strings.HasPrefix(d.ID, "pod-1-") {
		t.Errorf("ID %q does not name the instance", d.ID)
	}
	found := a.Refusals().Find(d.ID)
	if found == nil || found.Path != "/clusters/c1/api" {
		t.Fatalf("the refusal was kept as %+v", found)
	}
	if diff := cmp.Diff(d, found.Decision, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what is kept of the decision (-decided +kept):\n%s", diff)
	}
}

func TestWebhookIsAskedLast(t *testing.T) {
	var asked []string
	member := func(name string) fakeToken { return fakeToken{name: name, asked: &asked} }
	a, err := New(Config{
		Tokens:  []token.Authenticator{member("file"), member("oidc")},
		Webhook: member("webhook"),
		Types:   fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{"https://other.example": {member("workspace")}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	ask := func(issuer string) []string {
		asked = nil
		r.Header.Set("Authorization", "Bearer "+jwtOf(issuer))
		a.Decide(r.Context(), requestOf(r, &index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team"}}))
		return asked
	}
	if diff := cmp.Diff([]string{"file", "oidc", "webhook"}, ask(iss)); diff != "" {
		t.Errorf("issuer nobody names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"file", "oidc", "workspace"}, ask("https://other.example")); diff != "" {
		t.Errorf("issuer of the type (-want +got):\n%s", diff)
	}
}

func TestExpiredAndRemovedCertificatesAreRefused(t *testing.T) {
	now := time.Now()
	clients := certstest.New(t, "clients")
	a, err := New(Config{ClientCAs: clients, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{clients.Client(t, time.Hour, "alice")}}
	decide := func() int { return a.Decide(r.Context(), requestOf(r, &index.Target{})).Status }
	for range 2 { // the second time from memory
		if got := decide(); got != 200 {
			t.Fatalf("good certificate: %d", got)
		}
	}
	now = now.Add(2 * time.Hour)
	if got := decide(); got != 401 {
		t.Errorf("past its end on the same connection: %d", got)
	}
	now = now.Add(-2 * time.Hour)
	if got := decide(); got != 200 {
		t.Fatalf("good certificate: %d", got)
	}
	clients.Pool = certstest.New(t, "clients").Pool
	if got := decide(); got != 401 {
		t.Errorf("after the CA was replaced, on the same connection: %d", got)
	}
}

func TestSharedCA(t *testing.T) {
	both := certstest.New(t, "both")
	rh := clientcert.RequestHeader{CAs: both, UsernameHeaders: []string{"X-Remote-User"}}
	if _, err := New(Config{ClientCAs: both, RequestHeader: &rh}); err == nil || !strings.Contains(err.Error(), "--requestheader-allowed-names") {
		t.Errorf("same CA, any name: got %v", err)
	}
	rh.AllowedNames = []string{"proxy"}
	a, err := New(Config{ClientCAs: both, RequestHeader: &rh})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) *Decision {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Remote-User", "bob")
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{both.Client(t, time.Hour, name)}}
		return a.Decide(r.Context(), requestOf(r, &index.Target{}))
	}
	if d := ask("alice"); d.User.GetName() != "alice" || d.Authenticator != clientcert.ByClientCertificate {
		t.Errorf("user certificate with asserted headers became %v by %s", d.User, d.Authenticator)
	}
	if d := ask("proxy"); d.User.GetName() != "bob" || d.Authenticator != clientcert.ByRequestHeader {
		t.Errorf("proxy certificate became %v by %s", d.User, d.Authenticator)
	}
}

func TestBundlesThatComeToOverlap(t *testing.T) {
	for name, cert := range map[string]struct {
		user   string
		groups []string
		want   string // the user; empty: refused
	}{
		"a user":                      {"alice", nil, "alice"},
		"no common name":              {"", []string{"devs"}, ""},
		"a name that headers change":  {"alice ", nil, ""},
		"a group that headers change": {"alice", []string{"devs "}, ""},
		"a control character":         {"a\tb", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			clients, proxies := certstest.New(t, "clients"), certstest.New(t, "proxies")
			a, err := New(Config{ClientCAs: clients, RequestHeader: &clientcert.RequestHeader{CAs: proxies, UsernameHeaders: []string{"X-Remote-User"}}})
			if err != nil {
				t.Fatal(err)
			}
			proxies.Pool = clients.Pool
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Remote-User", "kcp-admin")
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{clients.Client(t, time.Hour, cert.user, cert.groups...)}}
			d := a.Decide(r.Context(), requestOf(r, &index.Target{}))
			switch {
			case cert.want == "" && d.Status != http.StatusUnauthorized:
				t.Errorf("admitted as %v by %s", d.User, d.Authenticator)
			case cert.want != "" && (d.User == nil || d.User.GetName() != cert.want):
				t.Errorf("became %v by %s", d.User, d.Authenticator)
			}
		})
	}
}

// TestNestedBundles: one pool's CA is signed by the other's.
func TestNestedBundles(t *testing.T) {
	root := certstest.New(t, "root")
	intermediate := root.Below(t, "intermediate")
	for name, pools := range map[string][2]*certstest.CA{"clients below proxies": {intermediate, root}, "proxies below clients": {root, intermediate}} {
		rh := &clientcert.RequestHeader{CAs: pools[1], UsernameHeaders: []string{"X-Remote-User"}}
		if _, err := New(Config{ClientCAs: pools[0], RequestHeader: rh}); err == nil || !strings.Contains(err.Error(), "--requestheader-allowed-names") {
			t.Errorf("%s: got %v", name, err)
		}
		rh.AllowedNames = []string{"proxy"}
		if _, err := New(Config{ClientCAs: pools[0], RequestHeader: rh}); err != nil {
			t.Errorf("%s, with allowed names: %v", name, err)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	s := newRefusalLog("pod", time.Now)
	r := &Request{URL: &url.URL{Path: "/" + strings.Repeat("a", 1<<12)}}
	because := func(reason string) *Decision { return &Decision{Verdicts: []Verdict{{Reason: reason}}} }
	first, last := because("first"), because("last")
	s.add(r, first, CredentialSummary{})
	for i := range ringSize - 1 {
		s.add(r, because(fmt.Sprint(i)), CredentialSummary{})
	}
	if s.Find(first.ID) == nil {
		t.Error("a recent refusal is not kept")
	}
	s.add(r, last, CredentialSummary{})
	if s.Find(first.ID) != nil {
		t.Error("the oldest refusal is still kept")
	}
	if got := s.Find(last.ID); got == nil || len(got.Path) > 1100 {
		t.Errorf("kept %v", got)
	}
}

// TestRefusalsOfOthersAreKept: who floods one logical cluster pushes out the
// refusals of those that share its ring, a sixteenth of all.
func TestRefusalsOfOthersAreKept(t *testing.T) {
	s := newRefusalLog("pod", time.Now)
	const others = 200
	var before []*Decision
	ids := map[string]bool{}
	for i := range others {
		d := &Decision{}
		s.add(&Request{Target: index.Target{Cluster: fmt.Sprint("other-", i)}}, d, CredentialSummary{})
		before = append(before, d)
		ids[d.ID] = true
	}
	if len(ids) != others {
		t.Fatalf("%d ids of %d refusals", len(ids), others)
	}
	for i := range 10 * maxRefusals {
		s.add(&Request{Target: index.Target{Cluster: "flooded"}}, &Decision{Verdicts: []Verdict{{Reason: fmt.Sprint(i)}}}, CredentialSummary{})
	}
	kept := 0
	for i, d := range before {
		if got := s.Find(d.ID); got != nil {
			kept++
			if got.Decision.ID != d.ID || got.Target.Cluster != fmt.Sprint("other-", i) {
				t.Errorf("the id of %d finds %+v", i, got)
			}
		}
	}
	if kept < others/2 || kept == others {
		t.Errorf("%d of %d others are kept", kept, others)
	}
}

// tokenSeen keeps the token that it was asked about, and does not know it.
type tokenSeen struct{ last token.Token }

func (s *tokenSeen) Name() string { return "seen" }

func (s *tokenSeen) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	s.last = t
	return nil, time.Time{}, nil
}

// TestAuthenticatorsGetClientAndCluster: by the client's address and the logical
// cluster they share out what is scarce.
func TestAuthenticatorsGetClientAndCluster(t *testing.T) {
	seen := &tokenSeen{}
	a, err := New(Config{Webhook: seen})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:1024"
	r.Header.Set("Authorization", "Bearer opaque")
	a.Decide(r.Context(), requestOf(r, &index.Target{Cluster: "c1"}))
	if diff := cmp.Diff(token.Token{Raw: "opaque", Client: "192.0.2.1:1024", Cluster: "c1"}, seen.last); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
}
