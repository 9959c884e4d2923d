package webhook

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
)

// TestWebhookAnswersAreReadAsKubeReadsThem: what kube's webhook authenticator
// makes of an answer, ours makes of it, but for the differences noted here.
func TestWebhookAnswersAreReadAsKubeReadsThem(t *testing.T) {
	const status = `"status":{"authenticated":true,"user":{"username":"alice","uid":"u1","groups":["a"],"extra":{"k":["v"]}}}`
	for _, tc := range []struct {
		name, body string
		version    string // "" tries both
		code       int    // 0 means 200
		// ours is what we make of it where kube makes something else, and why says
		// why: "yes", "no", "undecided".
		ours, why string
	}{
		{name: "kind and version", version: "v1", body: `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1",` + status + `}`},
		{name: "status only", body: `{` + status + `}`},
		{name: "kind only", body: `{"kind":"TokenReview",` + status + `}`},
		{name: "version only", version: "v1beta1", body: `{"apiVersion":"authentication.k8s.io/v1beta1",` + status + `}`},
		{name: "kind in lower case", body: `{"kind":"tokenreview",` + status + `}`},
		{name: "the other version", version: "v1beta1", body: `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1",` + status + `}`, ours: "yes", why: "webhooks answer with the version they know"},
		{name: "the other version", version: "v1", body: `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1beta1",` + status + `}`, ours: "yes", why: "webhooks answer with the version they know"},
		{name: "a version nobody knows", body: `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v3",` + status + `}`},
		{name: "another group", body: `{"kind":"TokenReview","apiVersion":"example.org/v1",` + status + `}`},
		{name: "a failure", body: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden"}`},
		{name: "a success", body: `{"kind":"Status","apiVersion":"v1","status":"Success"}`},
		{name: "another kind", body: `{"kind":"Pod","apiVersion":"v1",` + status + `}`},
		{name: "YAML", body: "status:\n  authenticated: true\n  user: {username: alice}\n"},
		{name: "byte order mark", body: "\ufeff{" + status + `}`},
		{name: "no", body: `{"status":{"authenticated":false}}`},
		{name: "no, with a user", body: `{"status":{"user":{"username":"alice"}}}`},
		{name: "no, with an error", body: `{"status":{"error":"expired"}}`},
		{name: "yes, with an error", body: `{"status":{"authenticated":true,"error":"x","user":{"username":"alice"}}}`},
		{name: "nothing in it", body: `{}`},
		{name: "null", body: `null`},
		{name: "list", body: `[]`},
		{name: "empty", body: ``},
		{name: "HTML", body: `<html><body>welcome</body></html>`},
		{name: "names by case", body: `{"Status":{"authenticated":true,"user":{"username":"alice"}}}`},
		{name: "names by case further down", body: `{"status":{"Authenticated":true,"User":{"Username":"alice"}}}`},
		{name: "a name twice", body: `{"status":{"authenticated":false,"authenticated":true,"user":{"username":"alice"}}}`},
		{name: "unknown names", body: `{"x":1,"status":{"authenticated":true,"y":2,"user":{"username":"alice","z":{}}}}`},
		{name: "metadata", body: `{"metadata":{"creationTimestamp":null,"name":"x"},` + status + `}`},
		{name: "metadata of another type", body: `{"metadata":"x",` + status + `}`},
		{name: "metadata with a bad time", body: `{"metadata":{"creationTimestamp":"yesterday"},` + status + `}`},
		{name: "text for a truth value", body: `{"status":{"authenticated":"true","user":{"username":"alice"}}}`},
		{name: "text for groups", body: `{"status":{"authenticated":true,"user":{"username":"alice","groups":"x"}}}`},
		{name: "null for lists", body: `{"status":{"authenticated":true,"user":{"username":"alice","groups":null,"extra":{"a":null}}}}`},
		{name: "text behind it", body: `{` + status + `} x`},
		{name: "two answers", body: `{` + status + `}{"status":{}}`},
		{name: "no name", body: `{"status":{"authenticated":true}}`, ours: "no", why: "a user without a name is nobody"},
		{name: "created", code: 201, body: `{` + status + `}`},
		{name: "partial content", code: 206, body: `{` + status + `}`},
		{name: "multi-status", code: 207, body: `{` + status + `}`},
		{name: "unauthorized", code: 401, body: `{` + status + `}`, ours: "no"},
		{name: "forbidden", code: 403, body: `{"status":{"authenticated":false}}`, ours: "no"},
		{name: "not found", code: 404, body: `{` + status + `}`},
		{name: "failing", code: 500, body: `{` + status + `}`},
		{name: "throttling", code: 429, body: `{` + status + `}`},
	} {
		for _, version := range []string{"v1", "v1beta1"} {
			if tc.version != "" && tc.version != version {
				continue
			}
			t.Run(tc.name+" "+version, func(t *testing.T) {
				s := tokentest.ServeReviews(t, func(w http.ResponseWriter, _ authenticationv1.TokenReview) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(max(tc.code, http.StatusOK))
					_, _ = w.Write([]byte(tc.body))
				})
				want, wantUser := kubesAnswer(t, s, version)
				got, gotUser := ourAnswer(t, s, version)
				switch {
				case tc.ours != "":
					want = tc.ours
				case want == "no" && got == "undecided":
					t.Error("undecided, though kube takes it for an answer")
				}
				if tc.ours == "" && want == "error" {
					want = "undecided" // kube refuses, as it does whenever it could not ask
				}
				if got != want {
					t.Errorf("we say %s, want %s", got, want)
				}
				if tc.why == "" {
					if diff := cmp.Diff(wantUser, gotUser); diff != "" {
						t.Errorf("identity (-kube +ours):\n%s", diff)
					}
				}
			})
		}
	}
}

// kubesAnswer is "yes", "no" or "error".
func kubesAnswer(t *testing.T, s *tokentest.ReviewServer, version string) (string, user.Info) {
	t.Helper()
	config, err := loadConfig(s.Kubeconfig(t, s.URL+"/authenticate"))
	if err != nil {
		t.Fatal(err)
	}
	kubes, err := webhook.New(config, version, nil, wait.Backoff{Steps: 1, Duration: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	response, ok, err := kubes.AuthenticateToken(t.Context(), opaqueToken)
	switch {
	case ok:
		u := *response.User.(*user.DefaultInfo)
		if len(u.Extra) == 0 {
			u.Extra = nil
		}
		return "yes", &u
	case err != nil && err.Error() != "expired": // that is the answer's own
		return "error", nil
	}
	return "no", nil
}

func ourAnswer(t *testing.T, s *tokentest.ReviewServer, version string) (string, user.Info) {
	t.Helper()
	u, _, err := newTest(t, s, func(c *Config) { c.Version = version }).AuthenticateToken(t.Context(), token.Parse(opaqueToken))
	switch {
	case err == nil:
		return "yes", u
	case errors.Is(err, token.ErrUndecided):
		return "undecided", nil
	}
	return "no", nil
}
