package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2/textlogger"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/proxy/accessreview"
)

// reviewedToken is what these tests ask about.
const reviewedToken = "token-in-the-body-0123456789"

// knownTokens is an authenticator of the operator's: it knows some tokens, refuses all others,
// and about one it cannot tell.
type knownTokens struct {
	users     map[string]*user.DefaultInfo
	undecided string
}

func tokensOf(users map[string]*user.DefaultInfo, undecided ...string) []token.Authenticator {
	return []token.Authenticator{knownTokens{users, strings.Join(undecided, "")}}
}

func (knownTokens) Name() string { return "tokens" }

func (k knownTokens) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	if u := k.users[t.Raw]; u != nil {
		return u, time.Time{}, nil
	}
	if k.undecided != "" && t.Raw == k.undecided {
		return nil, time.Time{}, fmt.Errorf("%w: down", token.ErrUndecided)
	}
	return nil, time.Time{}, errors.New("wrong")
}

// reviewsCounted is how many TokenReviews are counted with an outcome.
func reviewsCounted(t *testing.T, f *front, outcome string) float64 {
	t.Helper()
	return value(t, f.config.Metrics, `front_proxy_token_reviews_total{outcome="`+outcome+`"}`)
}

// reviewShard is a stand-in shard that reviews.
type reviewShard struct {
	*standIn

	mu        sync.Mutex
	forbidden bool // who may create TokenReviews: nobody
	answer    authenticationv1.TokenReviewStatus
	code      int // of its answer to a TokenReview; 0: 201
	reviews   []authenticationv1.TokenReview
	access    []authorizationv1.SelfSubjectAccessReviewSpec
	as        []string // the users that ask, in order, and whom they impersonate
}

func (w *world) reviewShard(t *testing.T) *reviewShard {
	t.Helper()
	s := &reviewShard{}
	s.standIn = w.shard(t, "shard-1", true, nil)
	s.Config.Handler = http.HandlerFunc(s.serve)
	return s
}

func (s *reviewShard) serve(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := readIdentity(r.Header)
	if err != nil || u == nil || r.Header.Get("Authorization") != "" {
		rw.WriteHeader(http.StatusTeapot)
		return
	}
	s.as = append(s.as, u.Name+">"+r.Header.Get("Impersonate-User"))
	rw.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/clusters/2kd9" + accessreview.SelfPath:
		var review authorizationv1.SelfSubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		s.access = append(s.access, review.Spec)
		review.Status.Allowed = !s.forbidden
		rw.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(rw).Encode(review)
	default:
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		s.reviews = append(s.reviews, review)
		if s.code != 0 {
			rw.WriteHeader(s.code)
			_, _ = io.WriteString(rw, review.Spec.Token)
			return
		}
		review.Status = s.answer
		rw.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(rw).Encode(review)
	}
}

// questions returns and forgets the TokenReviews that the shard was asked.
func (s *reviewShard) questions() []authenticationv1.TokenReview {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.reviews
	s.reviews, s.access, s.as = nil, nil, nil
	return all
}

// reviewingFront is a proxy whose reviews are those of a.
func reviewingFront(t *testing.T, w *world, a *authn.Authenticator) *front {
	t.Helper()
	w.config.Review = a.Review
	return w.front(t)
}

func newAuthenticator(t *testing.T, c authn.Config) *authn.Authenticator {
	t.Helper()
	c.APIAudiences = []string{"api"}
	a, err := authn.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const reviewsURL = "/clusters/root:ws" + tokenReviewPath

// postReviewBody posts a body to the proxy.
func postReviewBody(t *testing.T, c *http.Client, target, contentType string, body []byte, header http.Header) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, answer
}

func reviewOfToken(token string, audiences ...string) []byte {
	body, _ := json.Marshal(authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{Kind: "TokenReview", APIVersion: "authentication.k8s.io/v1"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
	})
	return body
}

// TestTokenReviews: who is told what about which token, and whom the shard is asked as.
func TestTokenReviews(t *testing.T) {
	w := newWorld(t)
	shard := w.reviewShard(t)
	bob := &user.DefaultInfo{Name: "bob", UID: "b1", Groups: []string{"ops"}, Extra: map[string][]string{"example.org/level": {"5"}}}
	bot := func(cluster string) *user.DefaultInfo {
		return &user.DefaultInfo{Name: "system:serviceaccount:default:bot", UID: "u", Groups: []string{"system:serviceaccounts"}, Extra: map[string][]string{identity.ClusterNameKey: {cluster}, identity.ScopesKey: {"cluster:" + cluster}}}
	}
	ownToken := jwt(`{"iss":"https://kcp.default.svc","sub":"system:serviceaccount:default:bot","kubernetes.io":{"clusterName":"2kd9"}}`)
	legacyToken := jwt(`{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/clusterName":"2kd9"}`)
	foreignToken := jwt(`{"iss":"https://kcp.default.svc","sub":"system:serviceaccount:default:bot","kubernetes.io":{"clusterName":"other"}}`)
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"bob": bob, "own": bot("2kd9"), "foreign": bot("other")}, "undecided")})
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		if len(r.Header["X-Pass-Through"]) > 0 {
			return &authn.Decision{PassThrough: true, Status: 200}
		}
		return &authn.Decision{User: alice, Status: 200, Authenticator: "client-certificate"}
	}
	f := reviewingFront(t, w, a)
	client := f.client(t, true)
	type extra = map[string]authenticationv1.ExtraValue
	foreign := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"api"}, User: authenticationv1.UserInfo{
		Username: "system:kcp:serviceaccount:other:default:bot", UID: "u", Groups: []string{"system:authenticated", "system:cluster:other"}, Extra: extra{identity.ClusterNameKey: {"other"}},
	}}
	own := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"api"}, User: authenticationv1.UserInfo{
		Username: "system:serviceaccount:default:bot", UID: "u", Groups: []string{"system:authenticated", "system:serviceaccounts"}, Extra: extra{identity.ClusterNameKey: {"2kd9"}, identity.ScopesKey: {"cluster:2kd9"}},
	}}
	ownOfShard := *own.DeepCopy()
	ownOfShard.User.Groups = []string{"system:serviceaccounts", "system:authenticated"}
	no := authenticationv1.TokenReviewStatus{}
	for _, tt := range []struct {
		name, token string
		audiences   []string
		header      http.Header
		shard       authenticationv1.TokenReviewStatus // what it says of tokens
		code        int                                // 0: 201
		want        authenticationv1.TokenReviewStatus
		asked       bool // the shard is
		outcome     string
	}{
		{name: "a user", token: "bob", outcome: "accepted", want: authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"api"}, User: authenticationv1.UserInfo{
			Username: "bob", UID: "b1", Groups: []string{"ops", "system:authenticated"}, Extra: extra{"example.org/level": {"5"}}}}},
		{name: "a user, for another audience", token: "bob", audiences: []string{"vault"}, outcome: "refused", want: no},
		{name: "garbage, of a caller with a certificate", token: reviewedToken, shard: own, outcome: "refused", want: no},
		{name: "garbage beside asserted headers and a good token", token: reviewedToken, outcome: "refused", want: no,
			header: http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}, "Authorization": {"Bearer bob"}}},
		{name: "text that would be another header", token: "x\r\nAuthorization: Bearer bob", outcome: "refused", want: no},
		{name: "an account of the workspace", token: "own", outcome: "accepted", want: own},
		{name: "an account of another", token: "foreign", outcome: "accepted", want: foreign},
		{name: "undecided", token: "undecided", code: 503, outcome: "undecided"},
		{name: "an account that only the shard knows", token: ownToken, shard: ownOfShard, asked: true, outcome: "shard", want: ownOfShard},
		{name: "a legacy one", token: legacyToken, shard: ownOfShard, asked: true, outcome: "shard", want: ownOfShard},
		{name: "an account that nobody knows", token: ownToken, shard: authenticationv1.TokenReviewStatus{Error: "not " + ownToken}, asked: true, outcome: "shard", want: authenticationv1.TokenReviewStatus{Error: "not (token)"}},
		{name: "an account of another that nobody here knows", token: foreignToken, shard: ownOfShard, outcome: "refused", want: no},
		{name: "a shard that takes the token for another's", token: ownToken, asked: true, outcome: "shard", want: foreign,
			shard: authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"api"}, User: *identity.UserInfo(bot("other"))}},
		{name: "a shard that does not say whose account it is", token: ownToken, asked: true, outcome: "shard", want: no,
			shard: authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:default:bot"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shard.mu.Lock()
			shard.answer = tt.shard
			shard.mu.Unlock()
			before := reviewsCounted(t, f, tt.outcome)
			res, body := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken(tt.token, tt.audiences...), tt.header)
			asked := shard.questions()
			if (len(asked) == 1) != tt.asked || tt.asked && asked[0].Spec.Token != tt.token {
				t.Errorf("the shard was asked %d times about the token", len(asked))
			}
			if n := reviewsCounted(t, f, tt.outcome) - before; n != 1 {
				t.Errorf("%v reviews counted as %s", n, tt.outcome)
			}
			if tt.code != 0 {
				if s := status(t, body); res.StatusCode != tt.code || s.Details == nil || s.Details.RetryAfterSeconds == 0 || res.Header.Get("Retry-After") == "" {
					t.Errorf("answered %d: %s", res.StatusCode, body)
				}
				return
			}
			var got authenticationv1.TokenReview
			if err := json.Unmarshal(body, &got); err != nil || res.StatusCode != http.StatusCreated || len(res.Header["Warning"]) > 0 {
				t.Fatalf("answered %d with warnings %q: %s (%v)", res.StatusCode, res.Header["Warning"], body, err)
			}
			want := authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{Kind: "TokenReview", APIVersion: "authentication.k8s.io/v1"}, Spec: authenticationv1.TokenReviewSpec{Token: tt.token, Audiences: tt.audiences}, Status: tt.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTokenReviewsNeedTheRight: the shard is asked, as the caller and whom it impersonates.
func TestTokenReviewsNeedTheRight(t *testing.T) {
	w := newWorld(t)
	shard := w.reviewShard(t)
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"bob": {Name: "bob"}})})
	f := reviewingFront(t, w, a)
	client := f.client(t, true)
	want := []authorizationv1.SelfSubjectAccessReviewSpec{{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Group: "authentication.k8s.io", Version: "v1", Resource: "tokenreviews"}}}
	for _, as := range []string{"", "carol"} {
		header := http.Header{}
		who := "alice"
		if as != "" {
			header["Impersonate-User"], header["Impersonate-Group"] = []string{as}, []string{"x"}
			who = as
		}
		for _, forbidden := range []bool{false, true} {
			shard.mu.Lock()
			shard.forbidden = forbidden
			shard.mu.Unlock()
			res, body := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken("bob"), header)
			shard.mu.Lock()
			if diff := cmp.Diff(want, shard.access); diff != "" {
				t.Errorf("the shard was asked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"alice>" + as}, shard.as); diff != "" {
				t.Errorf("as (-want +got):\n%s", diff)
			}
			shard.mu.Unlock()
			shard.questions()
			if !forbidden {
				if res.StatusCode != http.StatusCreated {
					t.Errorf("as %q: answered %d: %s", who, res.StatusCode, body)
				}
				continue
			}
			s := status(t, body)
			if want := fmt.Sprintf("tokenreviews.authentication.k8s.io is forbidden: User %q cannot create resource %q in API group %q at the cluster scope", who, "tokenreviews", "authentication.k8s.io"); s.Code != 403 || s.Message != want {
				t.Errorf("answered %d %q, want 403 %q", s.Code, s.Message, want)
			}
		}
	}
	if n := reviewsCounted(t, f, "forbidden"); n != 2 {
		t.Errorf("%v forbidden reviews are counted, want 2", n)
	}
}

// TestTokenReviewsOfTheShard: what is not the proxy's goes to the shard as it came.
func TestTokenReviewsOfTheShard(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, path string
		off          bool // the gate is
		passes       bool // the caller passes through
		ours         bool
	}{
		"ours":                 {path: tokenReviewPath, ours: true},
		"with a slash":         {path: tokenReviewPath + "/", ours: true},
		"in another spelling":  {path: "/apis/authentication%2ek8s.io/v1/%74okenreviews", ours: true},
		"dry run":              {path: tokenReviewPath + "?dryRun=All&fieldManager=x&pretty=true", ours: true},
		"the gate is off":      {path: tokenReviewPath, off: true},
		"the shard's caller":   {path: tokenReviewPath, passes: true},
		"another version":      {path: "/apis/authentication.k8s.io/v1beta1/tokenreviews"},
		"a name":               {path: tokenReviewPath + "/x"},
		"another resource":     {path: "/apis/authentication.k8s.io/v1/selfsubjectreviews"},
		"another group":        {path: "/apis/example.org/v1/tokenreviews"},
		"another method":       {method: http.MethodPut, path: tokenReviewPath},
		"a list":               {method: http.MethodGet, path: tokenReviewPath},
		"in a namespace":       {path: "/apis/authentication.k8s.io/v1/namespaces/x/tokenreviews"},
		"in another case":      {path: "/apis/authentication.k8s.io/v1/TokenReviews"},
		"below another prefix": {path: "/api/authentication.k8s.io/v1/tokenreviews"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			shard := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if strings.HasSuffix(r.URL.Path, accessreview.SelfPath) {
					rw.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(rw, `{"status":{"allowed":true}}`)
					return
				}
				_, _ = io.WriteString(rw, "of the shard")
			})
			a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"bob": {Name: "bob"}})})
			if !tt.off {
				w.config.Review = a.Review
			}
			if tt.passes {
				w.decide = func(context.Context, authn.Request) *authn.Decision {
					return &authn.Decision{PassThrough: true, Status: 200}
				}
			}
			f := w.front(t)
			method := http.MethodPost
			if tt.method != "" {
				method = tt.method
			}
			code, body := 0, ""
			for deadline := time.Now().Add(stuck); code == 0 || code == http.StatusServiceUnavailable && time.Now().Before(deadline); { // on a busy machine a review may take too long
				r, err := http.NewRequestWithContext(t.Context(), method, f.URL+"/clusters/root:ws"+tt.path, bytes.NewReader(reviewOfToken("bob")))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				res, err := f.client(t, true).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				code, body = res.StatusCode, string(answer)
			}
			if ours := strings.Contains(body, `"bob"`) && code == http.StatusCreated; ours != tt.ours || !ours && body != "of the shard" {
				t.Errorf("answered %d by %s, ours: %v", code, body, tt.ours)
			}
			for _, seen := range shard.take() {
				if tt.ours && !strings.HasSuffix(seen.URI, accessreview.SelfPath) || !tt.ours && !strings.HasSuffix(seen.URI, tt.path) {
					t.Errorf("the shard has seen %s", seen.URI)
				}
			}
		})
	}
}

// TestTokenReviewsOfClients: Kubernetes' own typed client, in JSON and protobuf.
func TestTokenReviewsOfClients(t *testing.T) {
	w := newWorld(t)
	w.reviewShard(t)
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"bob": {Name: "bob", Groups: []string{"ops"}}})})
	f := reviewingFront(t, w, a)
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		c := &rest.Config{Host: f.URL + "/clusters/root:ws", ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType}}
		c.Transport = f.client(t, true).Transport
		client, err := authenticationclient.NewForConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string]string{"bob": "bob", "garbage": ""} {
			got, err := client.TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"api", "x"}}}, metav1.CreateOptions{FieldValidation: "Strict"})
			if err != nil {
				t.Fatal(err)
			}
			if got.Status.Authenticated != (want != "") || got.Status.User.Username != want || got.Status.Error != "" || got.Name != "mine" || got.Spec.Token != token {
				t.Errorf("%s, %s: %+v", contentType, token, got)
			}
			if want != "" && !cmp.Equal([]string{"api"}, got.Status.Audiences) {
				t.Errorf("%s: audiences %q", contentType, got.Status.Audiences)
			}
		}
		if _, err := client.TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{}, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
			t.Errorf("%s, no token: %v", contentType, err)
		}
	}
}

// TestTokenReviewBodies: bodies that are none, or too large, over both protocols, with and
// without a length.
func TestTokenReviewBodies(t *testing.T) {
	w := newWorld(t)
	shard := w.reviewShard(t)
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"bob": {Name: "bob"}})})
	f := reviewingFront(t, w, a)
	fits := reviewOfToken("bob", strings.Repeat("a", maxBufferedBody-len(reviewOfToken("bob", ""))))
	for name, tt := range map[string]struct {
		contentType string
		body        []byte
		query       string
		accept      string
		code        int
	}{
		"as large as allowed": {"application/json", fits, "", "", 201},
		"a byte too large":    {"application/json", append(bytes.Clone(fits), ' '), "", "", 413},
		"far too large":       {"application/json", bytes.Repeat([]byte("x"), 1<<20), "", "", 413},
		"empty":               {"application/json", nil, "", "", 400},
		"no JSON":             {"application/json", []byte(reviewedToken), "", "", 400},
		"no type":             {"", reviewOfToken("bob"), "", "", 201},
		"YAML":                {"application/yaml", []byte("spec: {token: bob}"), "", "", 415},
		"a form":              {"application/x-www-form-urlencoded", []byte("token=bob"), "", "", 415},
		"no protobuf":         {"application/vnd.kubernetes.protobuf", []byte("k8s\x00" + reviewedToken), "", "", 400},
		"a list of types":     {"application/json; charset=utf-8", reviewOfToken("bob"), "", "application/xml, */*", 201},
		"an unknown answer":   {"application/json", reviewOfToken("bob"), "", "application/xml", 406},
		"as a table":          {"application/json", reviewOfToken("bob"), "", "application/json;as=Table;v=v1;g=meta.k8s.io", 406},
		"an unknown dry run":  {"application/json", reviewOfToken("bob"), "?dryRun=Some", "", 422},
		"an endless query":    {"application/json", reviewOfToken("bob"), "?x=" + strings.Repeat("y", 5000), "", 400},
	} {
		for _, http2 := range []bool{false, true} {
			for _, length := range []bool{false, true} {
				client := f.client(t, http2)
				client.Transport.(*http.Transport).ExpectContinueTimeout = stuck //nolint:forcetypeassert // zero would mean: do not wait, and be cut off
				var body io.Reader = bytes.NewReader(tt.body)
				if !length {
					body = struct{ io.Reader }{body}
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+reviewsURL+tt.query, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", tt.contentType)
				if tt.accept != "" {
					r.Header.Set("Accept", tt.accept)
				}
				if tt.code == 413 {
					r.Header.Set("Expect", "100-continue")
				}
				res, err := client.Do(r)
				if errors.Is(err, syscall.ECONNRESET) && tt.code == 413 && !http2 && !length {
					continue // the proxy stops reading in the middle; a client that is slow to look for an answer loses it
				}
				if err != nil {
					t.Errorf("%s, HTTP/2 %v, length %v: %v", name, http2, length, err)
					continue
				}
				answer, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != tt.code {
					t.Errorf("%s, HTTP/2 %v, length %v: %d %s, want %d", name, http2, length, res.StatusCode, answer, tt.code)
				}
				if tt.code != 201 && bytes.Contains(answer, []byte(reviewedToken)) {
					t.Errorf("%s: the answer holds the token: %s", name, answer)
				}
			}
		}
	}
	if n := len(shard.questions()); n != 0 {
		t.Errorf("the shard was asked about %d tokens", n)
	}
}

// TestTokenReviewWithoutShard: a shard that fails is no refusal.
func TestTokenReviewWithoutShard(t *testing.T) {
	t.Parallel()
	ownToken := jwt(`{"kubernetes.io":{"clusterName":"2kd9"}}`)
	w := newWorld(t)
	shard := w.reviewShard(t)
	logs := &bytes.Buffer{}
	w.config.Log = textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(logs), textlogger.Verbosity(9)))
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(nil)})
	f := reviewingFront(t, w, a)
	client := f.client(t, true)
	for _, code := range []int{500, 403, 404, 503} {
		shard.mu.Lock()
		shard.code = code
		shard.mu.Unlock()
		res, body := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken(ownToken), nil)
		if res.StatusCode != 503 || bytes.Contains(body, []byte(ownToken)) {
			t.Errorf("answered %d: %s", res.StatusCode, body)
		}
	}
	shard.Close()
	res, body := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken(ownToken), nil)
	if res.StatusCode != 503 {
		t.Errorf("no shard: answered %d: %s", res.StatusCode, body)
	}
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(logs.String(), ownToken) {
		t.Error("the log holds the token")
	}
}

// TestTokenReviewRates: a workspace's reviews are bounded, and leave others theirs. Those that
// the shard does not allow are none.
func TestTokenReviewRates(t *testing.T) {
	w := newWorld(t)
	shard := w.reviewShard(t)
	stopped := time.Now()
	w.config.Now = func() time.Time { return stopped }
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(nil)})
	f := reviewingFront(t, w, a)
	client := f.client(t, true)
	ask := func() int {
		res, _ := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken("garbage"), nil)
		return res.StatusCode
	}
	shard.mu.Lock()
	shard.forbidden = true
	shard.mu.Unlock()
	for range 10 {
		if code := ask(); code != http.StatusForbidden {
			t.Fatalf("answered %d", code)
		}
	}
	shard.mu.Lock()
	shard.forbidden = false
	shard.mu.Unlock()
	for n := range reviewRate.Burst {
		if code := ask(); code != http.StatusCreated {
			t.Fatalf("review %d: answered %d", n, code)
		}
	}
	if code := ask(); code != http.StatusTooManyRequests {
		t.Errorf("one too many: answered %d", code)
	}
	for n := range 10 {
		if !f.reviews.rates.Allow(fmt.Sprint("other-", n)) {
			t.Errorf("workspace other-%d, which has had none, has no reviews left", n)
		}
	}
}

// TestTokenReviewsAreAuditedWithoutTheToken, at the highest level, with the outcome and why.
func TestTokenReviewsAreAuditedWithoutTheToken(t *testing.T) {
	w := newWorld(t)
	w.reviewShard(t)
	events := &trail{}
	w.config.Audit = &Audit{Sink: events, Policy: policy.NewPolicyRuleEvaluator(&auditinternal.Policy{Rules: []auditinternal.PolicyRule{{Level: auditinternal.LevelRequestResponse}}})}
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(map[string]*user.DefaultInfo{"known-" + reviewedToken: {Name: "bob"}})})
	f := reviewingFront(t, w, a)
	for token, want := range map[string]map[string]string{
		reviewedToken:            {"review": "refused", "review-reasons": "tokens: wrong"},
		"known-" + reviewedToken: {"review": "accepted"},
	} {
		res, body := postReviewBody(t, f.client(t, true), f.URL+reviewsURL, "application/json", reviewOfToken(token), nil)
		if res.StatusCode != http.StatusCreated {
			t.Fatalf("answered %d: %s", res.StatusCode, body)
		}
		events.mu.Lock()
		text, err := json.Marshal(events.events)
		events.mu.Unlock()
		if err != nil || bytes.Contains(text, []byte(reviewedToken)) {
			t.Errorf("the event holds the token (%v): %s", err, text)
		}
		e := events.one(t)
		got := map[string]string{}
		for key, value := range e.Annotations {
			if strings.HasPrefix(key, "review") {
				got[key] = value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || e.User != "alice" || e.Verb != "create" || e.Resource != "tokenreviews" || e.Code != 201 {
			t.Errorf("event %+v; annotations (-want +got):\n%s", e, diff)
		}
	}
}

// TestTokenReviewsAreLogged without the token.
func TestTokenReviewsAreLogged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	logs := &bytes.Buffer{}
	w := newWorld(t)
	w.reviewShard(t)
	w.config.Log = textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(lockedWriter{&mu, logs}), textlogger.Verbosity(9)))
	a := newAuthenticator(t, authn.Config{Tokens: tokensOf(nil)})
	f := reviewingFront(t, w, a)
	postReviewBody(t, f.client(t, true), f.URL+reviewsURL, "application/json", reviewOfToken(reviewedToken), nil)
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(logs.String(), `review="refused"`) || strings.Contains(logs.String(), reviewedToken) {
		t.Errorf("logged:\n%s", logs)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// TestTokenReviewWaitsForItsIssuer: meanwhile it takes no place among running requests.
func TestTokenReviewWaitsForItsIssuer(t *testing.T) {
	w := newWorld(t)
	w.reviewShard(t)
	w.config.MaxInFlight = 8 // one in a workspace
	begun, release := make(chan struct{}), make(chan struct{})
	w.config.Review = func(_ context.Context, _ *index.Target, raw string, _ []string) *authn.Review {
		if raw == "slow" {
			begun <- struct{}{}
			<-release
		}
		return &authn.Review{Outcome: authn.Accepted, User: &user.DefaultInfo{Name: raw}}
	}
	f := w.front(t)
	client := f.client(t, true)
	done := make(chan int)
	go func() {
		res, _ := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken("slow"), nil)
		done <- res.StatusCode
	}()
	<-begun
	if res, body := postReviewBody(t, client, f.URL+reviewsURL, "application/json", reviewOfToken("quick"), nil); res.StatusCode != http.StatusCreated {
		t.Errorf("another review meanwhile: %d %s", res.StatusCode, body)
	}
	close(release)
	if code := <-done; code != http.StatusCreated {
		t.Errorf("the slow review: %d", code)
	}
}
