package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
)

const opaqueToken = "opaque-webhook-token-0123456789"

func newTest(t *testing.T, s *tokentest.ReviewServer, change func(*Config)) *Authenticator {
	t.Helper()
	c := Config{ConfigFile: s.Kubeconfig(t, s.URL+"/authenticate"), TTL: 2 * time.Minute}
	if change != nil {
		change(&c)
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := w.reviewer.(*httpReviewer)
	r.pause = time.Nanosecond
	t.Cleanup(r.client.CloseIdleConnections)
	return w
}

func TestWebhook(t *testing.T) {
	alice := &user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"a", "b"}, Extra: map[string][]string{"k": {"v"}}}
	audiences := []string{"https://kcp.default.svc", "x"}
	for name, tc := range map[string]struct {
		answer    func(http.ResponseWriter, authenticationv1.TokenReview)
		version   string
		audiences []string
		want      *user.DefaultInfo
		refused   string // in the error
		undecided string
		asked     int64
	}{
		"yes":                     {answer: tokentest.Says(tokentest.SaysAlice), want: alice},
		"yes in v1":               {answer: tokentest.Says(tokentest.SaysAlice), version: "v1", want: alice},
		"yes in another version":  {answer: tokentest.Writes(200, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":`+tokentest.SaysAlice+`}`), want: alice},
		"yes with 201":            {answer: tokentest.Writes(201, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":`+tokentest.SaysAlice+`}`), want: alice},
		"yes, knows no audiences": {answer: tokentest.Says(tokentest.SaysAlice), audiences: audiences, want: alice},
		"yes for our audience":    {answer: tokentest.Says(`{"authenticated":true,"audiences":["x"],"user":{"username":"bob"}}`), audiences: audiences, want: &user.DefaultInfo{Name: "bob"}},
		"yes for another one":     {answer: tokentest.Says(`{"authenticated":true,"audiences":["y"],"user":{"username":"bob"}}`), audiences: audiences, refused: `["y"]`},
		"yes, audiences not asked": {answer: tokentest.Says(`{"authenticated":true,"audiences":["y"],"user":{"username":"bob"}}`),
			want: &user.DefaultInfo{Name: "bob"}},
		"yes without a name":   {answer: tokentest.Says(`{"authenticated":true}`), refused: "without a user name"},
		"no":                   {answer: tokentest.Says(`{"authenticated":false}`), refused: "refused"},
		"no, empty status":     {answer: tokentest.Says(`{}`), refused: "refused"},
		"no with a reason":     {answer: tokentest.Says(`{"error":"expired in May"}`), refused: "expired in May"},
		"no, echoes the token": {answer: tokentest.Says(`{"error":"bad token ` + opaqueToken + `"}`), refused: "bad token (token)"},
		"no, with a user":      {answer: tokentest.Says(`{"authenticated":false,"user":{"username":"system:admin"}}`), refused: "refused"},
		"failing":              {answer: tokentest.Writes(503, ""), undecided: "503", asked: 3},
		"throttling":           {answer: tokentest.Writes(429, ""), undecided: "429", asked: 3},
		"forbidden":            {answer: tokentest.Writes(403, ""), refused: "403"},
		"forbidden, a review":  {answer: tokentest.Writes(403, `{"status":`+tokentest.SaysAlice+`}`), refused: "403"},
		"unauthorized":         {answer: tokentest.Writes(401, ""), refused: "401"},
		"gone":                 {answer: tokentest.Writes(404, ""), undecided: "404"},
		"not JSON":             {answer: tokentest.Writes(200, "<html>"+opaqueToken), undecided: "not a TokenReview"},
		"wrong types":          {answer: tokentest.Says(`{"authenticated":"` + opaqueToken + `"}`), undecided: "not a TokenReview"},
		"another kind":         {answer: tokentest.Writes(200, `{"apiVersion":"v1","kind":"Status"}`), undecided: `"Status"`},
		"another group":        {answer: tokentest.Writes(200, `{"apiVersion":"x/v1","kind":"TokenReview","status":`+tokentest.SaysAlice+`}`), undecided: `"x/v1"`},
		"too large":            {answer: tokentest.Writes(200, strings.Repeat(" ", maxReview+1)), undecided: "more than"},
		"redirect": {answer: func(w http.ResponseWriter, _ authenticationv1.TokenReview) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, undecided: "307"},
		"cut off": {answer: func(w http.ResponseWriter, _ authenticationv1.TokenReview) { w.Header().Set("Content-Length", "9") }, undecided: "read its answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := tokentest.ServeReviews(t, tc.answer)
			w := newTest(t, s, func(c *Config) { c.Version, c.Audiences = tc.version, tc.audiences })
			got, until, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken))
			if err != nil && strings.Contains(err.Error(), opaqueToken) {
				t.Errorf("the error holds the token: %v", err)
			}
			switch text := tc.refused + tc.undecided; {
			case text != "":
				if err == nil || !strings.Contains(err.Error(), text) || errors.Is(err, token.ErrUndecided) != (tc.undecided != "") {
					t.Errorf("error %v, want one with %q, undecided %t", err, text, tc.undecided != "")
				}
				if got != nil {
					t.Errorf("identity %v with an error", got)
				}
			case err != nil:
				t.Fatal(err)
			default:
				if diff := cmp.Diff(user.Info(tc.want), got); diff != "" {
					t.Errorf("identity (-want +got):\n%s", diff)
				}
			}
			if !until.IsZero() {
				t.Errorf("ends %v", until)
			}
			if n := s.Asked.Load(); n != max(tc.asked, 1) {
				t.Errorf("asked %d times, want %d", n, max(tc.asked, 1))
			}
			version := tc.version
			if version == "" {
				version = "v1beta1"
			}
			want := authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/" + version, Kind: "TokenReview"}, Spec: authenticationv1.TokenReviewSpec{Token: opaqueToken, Audiences: tc.audiences}}
			if diff := cmp.Diff(want, s.Requests[0]); diff != "" {
				t.Errorf("question (-want +got):\n%s", diff)
			}
			if s.Auth[0] != "Bearer the-proxys-own" {
				t.Errorf("credentials %q", s.Auth[0])
			}
		})
	}
}

func TestWebhookDown(t *testing.T) {
	s := tokentest.ServeReviews(t, nil)
	file := s.Kubeconfig(t, s.URL+"/authenticate")
	s.Close()
	w, err := New(Config{ConfigFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken)); !errors.Is(err, token.ErrUndecided) {
		t.Errorf("error %v, want undecided", err)
	}
}

// Its certificate is none of the configured CA's.
func TestWebhookUntrusted(t *testing.T) {
	s := tokentest.ServeReviews(t, tokentest.Says(tokentest.SaysAlice))
	file := filepath.Join(t.TempDir(), "kubeconfig")
	authntest.WriteFile(t, file, "apiVersion: v1\nkind: Config\nclusters: [{name: w, cluster: {server: "+s.URL+"/authenticate}}]\ncontexts: [{name: w, context: {cluster: w}}]\ncurrent-context: w\n")
	w, err := New(Config{ConfigFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken)); !errors.Is(err, token.ErrUndecided) {
		t.Errorf("error %v, want undecided", err)
	}
	if s.Asked.Load() != 0 {
		t.Error("the token went to a server that proved nothing")
	}
}

func TestWebhookKeepsAnswers(t *testing.T) {
	start := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	jwt := func(expiry time.Time) string {
		part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		return part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"iss":"x","exp":%d}`, expiry.Unix())) + "." + part("signature")
	}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, authenticationv1.TokenReview)
		token  string
		ttl    time.Duration
		// kept is for how long the answer is good.
		kept time.Duration
	}{
		"yes":                     {answer: tokentest.Says(tokentest.SaysAlice), token: opaqueToken, ttl: time.Minute, kept: time.Minute},
		"yes for a JWT":           {answer: tokentest.Says(tokentest.SaysAlice), token: jwt(start.Add(time.Hour)), ttl: time.Minute, kept: time.Minute},
		"yes for a JWT that ends": {answer: tokentest.Says(tokentest.SaysAlice), token: jwt(start.Add(20 * time.Second)), ttl: time.Minute, kept: 20 * time.Second},
		"yes for one that ended":  {answer: tokentest.Says(tokentest.SaysAlice), token: jwt(start.Add(-time.Second)), ttl: time.Minute},
		"yes, none kept":          {answer: tokentest.Says(tokentest.SaysAlice), token: opaqueToken},
		"no":                      {answer: tokentest.Says(`{}`), token: opaqueToken, ttl: time.Minute, kept: time.Minute},
		"no, none kept":           {answer: tokentest.Says(`{}`), token: opaqueToken},
		"could not check":         {answer: tokentest.Says(`{"error":"x"}`), token: opaqueToken, ttl: time.Minute, kept: errorLife},
		"refused by status":       {answer: tokentest.Writes(403, ""), token: opaqueToken, ttl: time.Minute, kept: errorLife},
		"gone":                    {answer: tokentest.Writes(404, ""), token: opaqueToken, ttl: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakePassiveClock(start)
			s := tokentest.ServeReviews(t, tc.answer)
			w := newTest(t, s, func(c *Config) { c.TTL, c.Clock = tc.ttl, clk })
			ask := func(after time.Duration, want int64) {
				t.Helper()
				clk.SetTime(start.Add(after))
				_, _, _ = w.AuthenticateToken(t.Context(), token.Parse(tc.token))
				if n := s.Asked.Load(); n != want {
					t.Errorf("after %s: asked %d times, want %d", after, n, want)
				}
			}
			ask(0, 1)
			if tc.kept > 0 {
				ask(tc.kept-time.Millisecond, 1)
			}
			ask(tc.kept, 2)
		})
	}
}

// TestWebhookIsAskedAnewForStreams: what a stream goes on by is younger than what
// requests are answered by.
func TestWebhookIsAskedAnewForStreams(t *testing.T) {
	start := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		later   func(http.ResponseWriter, authenticationv1.TokenReview)
		after   time.Duration
		crowded bool
		asked   int64
		// stream and request are "yes", "no" or "undecided".
		stream, request string
	}{
		"still yes":       {later: tokentest.Says(tokentest.SaysAlice), after: freshFor + 1, asked: 2, stream: "yes", request: "yes"},
		"just asked":      {later: tokentest.Says(`{}`), after: freshFor, asked: 1, stream: "yes", request: "yes"},
		"no":              {later: tokentest.Says(`{}`), after: freshFor + 1, asked: 2, stream: "no", request: "no"},
		"could not check": {later: tokentest.Says(`{"error":"x"}`), after: freshFor + 1, asked: 2, stream: "undecided", request: "yes"},
		"failing":         {later: tokentest.Writes(404, ""), after: freshFor + 1, asked: 2, stream: "undecided", request: "yes"},
		"403 to all":      {later: tokentest.Writes(403, ""), after: freshFor + 1, asked: 2, stream: "undecided", request: "yes"},
		"busy":            {later: tokentest.Says(`{}`), after: freshFor + 1, crowded: true, asked: 1, stream: "yes", request: "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakePassiveClock(start)
			s := tokentest.ServeReviews(t, tokentest.Says(tokentest.SaysAlice))
			w := newTest(t, s, func(c *Config) { c.Clock = clk })
			ask := func(purpose token.Purpose, want string) {
				t.Helper()
				got := "yes"
				asked := token.Parse(opaqueToken)
				asked.Purpose = purpose
				switch _, _, err := w.AuthenticateToken(t.Context(), asked); {
				case errors.Is(err, token.ErrUndecided):
					got = "undecided"
				case err != nil:
					got = "no"
				}
				if got != want {
					t.Errorf("it says %s, want %s", got, want)
				}
			}
			ask(token.ForAdmission, "yes")
			s.AnswerWith(tc.later)
			clk.SetTime(start.Add(tc.after))
			busy, done := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer done()
			for i := range maxQuestions / 2 {
				if !tc.crowded {
					break
				}
				wg.Go(func() {
					_, _ = w.questions.Do(busy, token.Digest{byte(i)}, nil, func() func(context.Context) (answer, error) {
						return func(context.Context) (answer, error) { <-busy.Done(); return answer{}, busy.Err() }
					})
				})
			}
			if tc.crowded {
				waitForLine(t, w, maxQuestions/2, maxQuestions/2)
			}
			ask(token.ForRecheck, tc.stream)
			ask(token.ForAdmission, tc.request)
			if n := s.Asked.Load(); n != tc.asked {
				t.Errorf("asked %d times, want %d", n, tc.asked)
			}
		})
	}
}

func TestWebhookGarbageDoesNotPushOutGoodTokens(t *testing.T) {
	s := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		if q.Spec.Token == opaqueToken {
			tokentest.Says(tokentest.SaysAlice)(w, q)
			return
		}
		tokentest.Says(`{}`)(w, q)
	})
	w := newTest(t, s, nil)
	ask := func(raw string) { _, _, _ = w.AuthenticateToken(t.Context(), token.Parse(raw)) }
	ask(opaqueToken)
	for i := range 50 {
		ask(fmt.Sprint("garbage-", i))
	}
	before := s.Asked.Load()
	w.refused = bytecache.New[token.Digest, answer](10*(bytecache.Overhead+len("the webhook refused the token")), nil)
	for i := range 50 {
		ask(fmt.Sprint("more-", i))
	}
	if w.refused.Len() != 10 {
		t.Errorf("%d refusals are kept, want 10", w.refused.Len())
	}
	ask(opaqueToken)
	if n := s.Asked.Load() - before; n != 50 {
		t.Errorf("asked %d times, want 50: the good token was asked for again", n)
	}
}

func TestWebhookAsksOnceAtATime(t *testing.T) {
	arrived, leave := make(chan struct{}, 1), make(chan struct{})
	s := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		arrived <- struct{}{}
		<-leave
		tokentest.Says(tokentest.SaysAlice)(w, q)
	})
	w := newTest(t, s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() { // gives up, which must not fail the others
		defer close(gone)
		if _, _, err := w.AuthenticateToken(ctx, token.Parse(opaqueToken)); !errors.Is(err, token.ErrUndecided) {
			t.Errorf("error %v, want undecided", err)
		}
	}()
	<-arrived
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			u, _, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken))
			if err != nil || u.GetName() != "alice" {
				t.Errorf("%v, %v", u, err)
			}
		})
	}
	cancel()
	<-gone
	close(leave)
	wg.Wait()
	if n := s.Asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestNewWebhookErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		authntest.WriteFile(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	const cluster = "apiVersion: v1\nkind: Config\nclusters: [{name: w, cluster: {server: 'https://x', certificate-authority: missing.crt}}]\ncontexts: [{name: w, context: {cluster: w}}]\ncurrent-context: w\n"
	for name, tc := range map[string]struct {
		config Config
		want   string
	}{
		"missing":      {Config{ConfigFile: filepath.Join(dir, "none")}, "none"},
		"no file":      {Config{}, configFlag},
		"empty":        {Config{ConfigFile: file("empty", "")}, "empty"},
		"no YAML":      {Config{ConfigFile: file("text", "{{")}, "text"},
		"missing CA":   {Config{ConfigFile: file("ca", cluster)}, "missing.crt"},
		"wrong format": {Config{ConfigFile: file("v2", cluster), Version: "v2"}, "--authentication-token-webhook-version"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tc.config); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that names %q", err, tc.want)
			}
		})
	}
}

func FuzzReadReview(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":` + tokentest.SaysAlice + `}`))
	f.Add([]byte(`{}`))
	r := &httpReviewer{version: "v1", decoder: newReviewDecoder()}
	f.Fuzz(func(t *testing.T, body []byte) {
		if status, err := r.read(body); (status == nil) == (err == nil) {
			t.Error("neither an answer nor an error, or both")
		}
	})
}

// TestWebhookIdentitiesAreBounded: the operator's webhook too may say too much.
func TestWebhookIdentitiesAreBounded(t *testing.T) {
	w := newTest(t, tokentest.ServeReviews(t, tokentest.Says(`{"authenticated":true,"user":{"username":"alice","groups":["`+strings.Join(authntest.Names(2049, 4), `","`)+`"]}}`)), nil)
	_, _, err := w.AuthenticateToken(context.Background(), token.Token{Raw: "many"})
	if err == nil || errors.Is(err, token.ErrUndecided) || !strings.Contains(err.Error(), "2049 groups") {
		t.Errorf("got %v", err)
	}
	w = newTest(t, tokentest.ServeReviews(t, tokentest.Says(`{"error":"`+strings.Repeat("no ", 200<<10)+`"}`)), nil)
	for i := range 3 {
		if _, _, err := w.AuthenticateToken(context.Background(), token.Token{Raw: fmt.Sprint(i)}); err == nil || len(err.Error()) > 1<<10 {
			t.Errorf("got %.100v", err)
		}
	}
	if got := w.refused.Bytes(); got > 4<<10 {
		t.Errorf("three refusals take %d bytes", got)
	}
}
