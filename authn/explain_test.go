package authn

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/certstest"
	"frontproxy/internal/polltest"
)

// told is what a Decision tells, in one line.
func told(d *Decision) string {
	var b strings.Builder
	for _, v := range d.Verdicts {
		b.WriteString(v.Authenticator + " " + string(v.Outcome) + ": " + v.Reason + "; ")
	}
	return b.String() + strings.Join(d.Guarded, "; ")
}

// newTypes is an index of types that a test feeds.
func newTypes(t *testing.T) (*typestest.World, *workspacetypes.Index) {
	types := workspacetypes.New(workspacetypes.Config{
		Issuers: tokentest.RunPool(t, issuer.Config{}), Placement: &typestest.Placement{Of: map[string]string{"c1": "root", "c2": "root"}}, Clock: clock.RealClock{},
	})
	w := typestest.New(t, types.Watches(), "root")
	tokentest.Background(t, types.Run)
	return w, types
}

// waitAccepted waits until the type's authenticators accept tokens of s.
func waitAccepted(t *testing.T, types *workspacetypes.Index, name string, s *issuertest.Issuer) {
	t.Helper()
	polltest.UntilState(t, "its tokens are accepted", func() (bool, string) {
		published, err := types.Authenticators(index.Type{Cluster: "c1", Name: name})
		if err != nil || published == nil || len(published.ByIssuer[s.URL()]) == 0 {
			return false, fmt.Sprint(published, err)
		}
		u, _, err := published.ByIssuer[s.URL()][0].AuthenticateToken(t.Context(), token.Parse(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})))
		return u != nil, fmt.Sprint(err)
	})
}

// TestExplainIsDecide: Explain says what Decide decides, keeps nothing of it,
// and has those who accept say so.
func TestExplainIsDecide(t *testing.T) {
	w, types := newTypes(t)
	i := issuertest.Serve(t, issuertest.Options{})
	w.Sync()
	w.SetConfig("root", "c1", "auth", tokentest.SpecFor(i))
	w.SetType("root", "c1", "team", "auth")
	waitAccepted(t, types, "team", i)
	clients := certstest.New(t, "clients")
	a, err := New(Config{ClientCAs: clients, Types: types, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	target := index.Target{Cluster: "ws1", Type: index.Type{Cluster: "c1", Name: "team", Path: "root:org"}}
	cert := clients.Client(t, time.Hour, "alice")
	for _, tt := range []struct {
		name, token string
		cert        *x509.Certificate
		status      int
		want        []string // in what is told
	}{
		{"accepted", i.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}), nil, 200, []string{"accepted: valid until", "workspaceauthenticationconfiguration/auth@"}},
		{"wrong audience", i.Sign(issuertest.Claims{"sub": "alice", "aud": "other"}), nil, 401, []string{`audience: the token is for ["other"], the configuration wants one of ["app"]`}},
		{"expired", i.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "exp": time.Now().Add(-time.Hour).Unix()}), nil, 401, []string{"the token expired at"}},
		{"certificate", "", cert, 200, []string{"client-certificate accepted"}},
		{"nothing", "", nil, 401, []string{"the request has none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/clusters/ws1/api", nil)
			r.TLS = &tls.ConnectionState{}
			if tt.cert != nil {
				r.TLS.PeerCertificates = []*x509.Certificate{tt.cert}
			}
			if tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			before := refusalsSoFar(a.refusals)
			e, err := a.Explain(r.Context(), requestOf(r, &target), nil)
			if err != nil {
				t.Fatal(err)
			}
			if refusalsSoFar(a.refusals) != before {
				t.Error("what is only explained is kept as a refusal")
			}
			d := a.Decide(r.Context(), requestOf(r, &target))
			if d.Status != tt.status || e.Decision.Status != d.Status || e.Decision.Authenticator != d.Authenticator || (d.User == nil) != (e.Decision.User == nil) {
				t.Errorf("Decide: %d by %q, Explain: %d by %q; want %d", d.Status, d.Authenticator, e.Decision.Status, e.Decision.Authenticator, tt.status)
			}
			text := told(e.Decision) + strings.Join(e.Decision.Versions, " ")
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q lacks %q", text, want)
				}
			}
			if tt.token != "" && strings.Contains(text, tt.token) {
				t.Error("the token is told")
			}
			if d.Status == 200 && d.Verdicts != nil {
				t.Error("Decide tells of those who accept: that costs every request")
			}
		})
	}
	nowhere := index.Target{Cluster: "ws2", Type: index.Type{Cluster: "c1", Name: "plain", Path: "root:org"}}
	r := httptest.NewRequest("GET", "/clusters/ws2/api", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certstest.New(t, "strangers").Client(t, time.Hour, "x")}}
	onlyProxies, err := New(Config{RequestHeader: &clientcert.RequestHeader{CAs: clients, UsernameHeaders: []string{"X-Remote-User"}}, Instance: "pod-1", Webhook: fakeToken{name: "webhook"}})
	if err != nil {
		t.Fatal(err)
	}
	r.TLS = nil
	if d := onlyProxies.Decide(r.Context(), requestOf(r, &nowhere)); !strings.Contains(told(d), "the request has none") {
		t.Errorf("without a credential: %q", told(d))
	}
	states := a.AuthenticatorsFor(&target.Type)
	var names []string
	for _, s := range states {
		names = append(names, s.Name+" "+s.State)
	}
	if want := []string{"client-certificate Ready", "configuration c1/auth Ready", "workspace c1/auth jwt[0] " + i.URL() + " Ready"}; !slices.Equal(names, want) {
		t.Errorf("applying: %q, want %q", names, want)
	}
}

// TestExplainWithAChange: a change is judged as if it were applied, within the
// limits of any configuration, and changes nothing for anybody.
func TestExplainWithAChange(t *testing.T) {
	w, types := newTypes(t)
	trusted, other := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	w.Sync()
	w.SetConfig("root", "c1", "auth", tokentest.SpecFor(trusted))
	w.SetConfig("root", "c1", "unused", tokentest.SpecFor(other))
	w.SetType("root", "c1", "team", "auth")
	waitAccepted(t, types, "team", trusted)
	a, err := New(Config{Types: types, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	team := index.Target{Cluster: "ws1", Type: index.Type{Cluster: "c1", Name: "team", Path: "root:org"}}
	plain := index.Target{Cluster: "ws2", Type: index.Type{Cluster: "c1", Name: "plain", Path: "root:org"}}
	config := func(name, spec string) *workspacetypes.Change {
		return &workspacetypes.Change{Configurations: map[string]json.RawMessage{name: []byte(spec)}}
	}
	names := func(kind string, configs ...string) *workspacetypes.Change {
		return &workspacetypes.Change{Types: map[string][]string{kind: configs}}
	}
	for _, tt := range []struct {
		name   string
		target index.Target
		change *workspacetypes.Change
		by     *issuertest.Issuer
		status int
		want   string
	}{
		{"as it is", team, &workspacetypes.Change{}, other, 401, "no configuration of the type trusts issuer"},
		{"another issuer in the configuration", team, config("auth", tokentest.SpecFor(other)), other, 200, "accepted"},
		{"the issuer that was there is out then", team, config("auth", tokentest.SpecFor(other)), trusted, 401, "no configuration of the type trusts issuer"},
		{"a configuration that nobody names", team, config("new", tokentest.SpecFor(other)), other, 401, "does not name the configuration new"},
		{"the type names what exists", team, names("team", "auth", "unused"), other, 200, "workspaceauthenticationconfiguration/unused@"},
		{"the type names what does not exist", team, names("team", "gone"), trusted, 503, "authentication configuration gone does not exist"},
		{"another type is given", team, names("others", "auth"), trusted, 200, "others given changes nothing"},
		{"a type without configurations gets one", plain, names("plain", "auth"), trusted, 200, "workspacetype/plain@(as given)"},
		{"a broken configuration", team, config("auth", `{"jwt":[{"issuer":{"url":"http://x","audiences":["a"]},"claimMappings":{"username":{"claim":"sub","prefix":""}}}]}`), trusted, 503, "is broken: invalid spec"},
		{"a broken one that trusts the same", team, config("auth", tokentest.SpecFor(trusted, tokentest.With([]tokentest.Object{{"expression": "claims."}}, "claimValidationRules"))), trusted, 200, "stays in use"},
		{"one that is too large", team, config("auth", `{"jwt":"`+strings.Repeat("x", jwt.MaxSpecBytes)+`"}`), trusted, 503, "at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/clusters/ws1/api", nil)
			r.Header.Set("Authorization", "Bearer "+tt.by.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
			e, err := a.Explain(r.Context(), requestOf(r, &tt.target), tt.change)
			if err != nil {
				t.Fatal(err)
			}
			text := told(e.Decision) + strings.Join(append(e.Decision.Versions, e.Notes...), " ")
			if e.Decision.Status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%d %s; want %d with %q", e.Decision.Status, text, tt.status, tt.want)
			}
		})
	}
	waitAccepted(t, types, "team", trusted)
	r := httptest.NewRequest("GET", "/clusters/ws1/api", nil)
	r.Header.Set("Authorization", "Bearer "+other.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
	if d := a.Decide(r.Context(), requestOf(r, &team)); d.Status != http.StatusUnauthorized {
		t.Errorf("a change that was tried is in force: %d", d.Status)
	}
	for name, target := range map[string]index.Target{"no cluster": {}, "no type": {Cluster: "ws3"}, "unknown type": {Cluster: "ws4", Type: index.Type{Err: index.ErrNotSynced}}} {
		if e, err := a.Explain(t.Context(), Request{Target: target}, &workspacetypes.Change{}); err == nil {
			t.Errorf("%s: a change is tried: %+v", name, e)
		}
	}
}

func refusalsSoFar(s *RefusalLog) (n uint64) {
	for i := range s.rings {
		n += s.rings[i].next
	}
	return n
}

// Two configurations of a type name the same issuer URL: the one whose issuer
// hangs is not waited for when the other accepts.
func TestHangingIssuerDelaysNobody(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	hangs := issuertest.Serve(t, issuertest.Options{})
	hangs.SetDelay(time.Hour)
	w, types := newTypes(t)
	w.Sync()
	w.SetConfig("root", "c1", "good", tokentest.SpecFor(s))
	w.SetConfig("root", "c1", "hangs", tokentest.SpecFor(s, tokentest.With(hangs.DiscoveryURL(), "issuer", "discoveryURL"), tokentest.With(hangs.CAPEM(), "issuer", "certificateAuthority")))
	w.SetType("root", "c1", "team", "good")
	waitAccepted(t, types, "team", s)
	w.SetType("root", "c1", "team", "hangs", "good")
	polltest.UntilState(t, "both are built", func() (bool, string) {
		n := types.Counts()[workspacetypes.ShownReady]
		return n == 2, fmt.Sprint(n)
	})
	a, err := New(Config{Types: types})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/clusters/ws1/api", nil)
	r.Header.Set("Authorization", "Bearer "+s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
	d, err := a.Explain(r.Context(), requestOf(r, &index.Target{Cluster: "ws1", Type: index.Type{Cluster: "c1", Name: "team"}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Decision.Status != 200 || len(d.Decision.Verdicts) != 1 {
		t.Errorf("status %d, asked were %s", d.Decision.Status, told(d.Decision))
	}
}
