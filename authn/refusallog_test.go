package authn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/certstest"
)

// TestRefusalsKeepLittle: whatever a request that is refused brings, and however
// much of it, of the refusal a bounded part is kept.
func TestRefusalsKeepLittle(t *testing.T) {
	const each, size = 24 << 10, 256 << 10
	long := func(begin string, i int) string { return begin + fmt.Sprint(i) + strings.Repeat("x", size) }
	jwt := func(claims string) string {
		part := base64.RawURLEncoding.EncodeToString
		return part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(claims)) + ".c2ln"
	}
	plain := func(i int) *http.Request {
		r := httptest.NewRequest("GET", "/clusters/c1/api", nil)
		r.Header.Set("Authorization", "Bearer "+fmt.Sprint(i)) // else it is one refusal, repeated
		return r
	}
	for name, request := range map[string]func(i int) *http.Request{
		"request line": func(i int) *http.Request {
			line := long("GET /clusters/c1/api?q=", i)
			r := plain(i)
			r.Method, r.RequestURI = line[:3], line[4:]
			r.URL.Path = line[4:20]
			return r
		},
		"method": func(i int) *http.Request {
			r := plain(i)
			r.Method = long("M", i)
			return r
		},
		"issuer of a token": func(i int) *http.Request {
			r := plain(i)
			r.Header.Set("Authorization", "Bearer "+jwt(`{"iss":"https://issuer/`+long("", i)[:40<<10]+`"}`))
			return r
		},
		"issuer that is written with escapes": func(i int) *http.Request {
			r := plain(i)
			r.Header.Set("Authorization", "Bearer "+jwt(`{"iss":"https://issuer/\u00e4`+long("", i)[:40<<10]+`"}`))
			return r
		},
		"name of a certificate": func(i int) *http.Request {
			r := plain(i)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: long("n", i)}, SerialNumber: big.NewInt(1)}}}
			return r
		},
		"serial number of a certificate": func(i int) *http.Request {
			r := plain(i)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 8*size)}}}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			ca := certstest.New(t, "clients")
			a, err := New(Config{ClientCAs: ca, Tokens: []token.Authenticator{fakeToken{name: "file"}}, Types: fakeTypes{types: &workspacetypes.TypeAuthenticators{}}, Instance: "pod-1"})
			if err != nil {
				t.Fatal(err)
			}
			target := index.Target{Cluster: "c1", Type: index.Type{Cluster: "c1", Name: "team"}}
			kept := authntest.Retained(func() {
				for i := range 2 * ringSize {
					if d := a.Decide(t.Context(), requestOf(request(i), &target)); d.Status != http.StatusUnauthorized {
						t.Fatalf("status %d", d.Status)
					}
				}
			})
			t.Logf("%d bytes for each refusal that is kept", kept/ringSize)
			if kept > ringSize*each {
				t.Errorf("%d refusals keep %d bytes, want at most %d", ringSize, kept, ringSize*each)
			}
			runtime.KeepAlive(a)
		})
	}
}

// TestRefusalsKeepBoundedReasons: many authenticators that say much.
func TestRefusalsKeepBoundedReasons(t *testing.T) {
	s := newRefusalLog("pod", time.Now)
	kept := authntest.Retained(func() {
		for i := range ringSize {
			d := &Decision{Verdicts: []Verdict{{Reason: fmt.Sprint(i)}}}
			for range 999 {
				d.Verdicts = append(d.Verdicts, Verdict{Authenticator: strings.Repeat("a", 1<<10), Outcome: Refused, Reason: strings.Repeat("r", 1<<11)})
				d.Guarded = append(d.Guarded, strings.Repeat("g", 1<<10))
			}
			s.add(&Request{}, d, CredentialSummary{})
			if len(d.Verdicts) != 1000 {
				t.Fatal("the decision itself was changed")
			}
			last := s.Find(d.ID).Decision.Verdicts
			if want := "more verdicts were not kept"; !strings.HasSuffix(last[len(last)-1].Reason, want) {
				t.Fatalf("the last verdict that is kept: %v, want %q", last[len(last)-1], want)
			}
		}
	})
	if kept > ringSize*(48<<10) {
		t.Errorf("%d refusals keep %d bytes", ringSize, kept)
	}
}

// TestRefusalIDsTellNothing: not the ring, and not how many there were.
func TestRefusalIDsTellNothing(t *testing.T) {
	s := newRefusalLog("pod", time.Now)
	rings := map[uint64]map[string]bool{}
	for i := range 4096 {
		d := &Decision{Verdicts: []Verdict{{Reason: fmt.Sprint(i)}}}
		cluster := []string{"one", "two"}[i%2]
		s.add(&Request{Target: index.Target{Cluster: cluster}}, d, CredentialSummary{})
		n, err := strconv.ParseUint(strings.TrimPrefix(d.ID, "pod-"), 36, 64)
		if err != nil {
			t.Fatal(err)
		}
		residue := n % refusalRings
		if rings[residue] == nil {
			rings[residue] = map[string]bool{}
		}
		rings[residue][cluster] = true
	}
	for residue := range uint64(refusalRings) {
		if len(rings[residue]) != 2 {
			t.Errorf("ids of %v only are %d modulo the number of rings", rings[residue], residue)
		}
	}
}

// TestRepeatedRefusalKeepsItsID: the same credential is refused for the same reason in the
// same workspace, within a minute.
func TestRepeatedRefusalKeepsItsID(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	team, other := index.Target{Cluster: "c1"}, index.Target{Cluster: "c2"}
	request := func(path, token string) Request {
		return Request{URL: &url.URL{Path: path}, Header: http.Header{"Authorization": {"Bearer " + token}}, Target: team}
	}
	certificate := func(raw string) Request {
		return Request{Certificates: []*x509.Certificate{{Raw: []byte(raw)}}, Target: team}
	}
	elsewhere := request("/", "a")
	elsewhere.Target = other
	services := request("/", "a")
	services.ShardRoute = "shard-1"
	because := func(authenticator, reason string) *Decision {
		return &Decision{Status: 401, Verdicts: []Verdict{{Authenticator: authenticator, Outcome: Refused, Reason: reason}}}
	}
	for name, tt := range map[string]struct {
		after         time.Duration
		first, second Request
		decision      *Decision
		same          bool
	}{
		"another path, as in kubectl's discovery": {first: request("/api", "a"), second: request("/apis", "a"), decision: because("m", "bad"), same: true},
		"just before a minute":                    {after: time.Minute - 1, first: request("/", "a"), second: request("/", "a"), decision: because("m", "bad"), same: true},
		"after a minute":                          {after: time.Minute, first: request("/", "a"), second: request("/", "a"), decision: because("m", "bad")},
		"another token":                           {first: request("/", "a"), second: request("/", "b"), decision: because("m", "bad")},
		"another certificate":                     {first: certificate("a"), second: certificate("b"), decision: because("m", "bad")},
		"the same certificate":                    {first: certificate("a"), second: certificate("a"), decision: because("m", "bad"), same: true},
		"another workspace":                       {first: request("/", "a"), second: elsewhere, decision: because("m", "bad")},
		"a shard's route":                         {first: request("/", "a"), second: services, decision: because("m", "bad")},
		"another reason":                          {first: request("/", "a"), second: request("/", "a"), decision: because("m", "worse")},
		"another authenticator":                   {first: request("/", "a"), second: request("/", "a"), decision: because("n", "bad")},
		"undecided":                               {first: request("/", "a"), second: request("/", "a"), decision: &Decision{Status: 503, Verdicts: because("m", "bad").Verdicts}},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			s := newRefusalLog("pod", func() time.Time { return now })
			first := because("m", "bad")
			s.add(&tt.first, first, CredentialSummary{})
			now = now.Add(tt.after)
			s.add(&tt.second, tt.decision, CredentialSummary{})
			if same := first.ID == tt.decision.ID; same != tt.same {
				t.Fatalf("the ids are %s and %s", first.ID, tt.decision.ID)
			}
			want := Refusal{Time: now, Last: now, Count: 1}
			if tt.same {
				want = Refusal{Time: start, Last: now, Count: 2}
			}
			got := s.Find(tt.decision.ID)
			if !got.Time.Equal(want.Time) || !got.Last.Equal(want.Last) || got.Count != want.Count {
				t.Errorf("%d from %v to %v, want %d from %v to %v", got.Count, got.Time, got.Last, want.Count, want.Time, want.Last)
			}
		})
	}
}
