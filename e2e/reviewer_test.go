package e2e

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
)

// reviewer is a webhook authenticator: a TokenReview server over TLS.
type reviewer struct {
	*httptest.Server
	down atomic.Bool // it answers 500
}

func newReviewer(t *testing.T) *reviewer {
	t.Helper()
	w := &reviewer{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.review))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

func (w *reviewer) review(rw http.ResponseWriter, r *http.Request) {
	var asked authenticationv1.TokenReview // v1beta1 has the same shape
	if w.down.Load() || r.Method != http.MethodPost || r.URL.Path != "/review" || json.NewDecoder(r.Body).Decode(&asked) != nil || asked.Kind != "TokenReview" {
		http.Error(rw, "no", http.StatusInternalServerError)
		return
	}
	answer := authenticationv1.TokenReview{TypeMeta: asked.TypeMeta}
	if asked.Spec.Token == "token-of-erin" {
		answer.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: asked.Spec.Audiences, User: authenticationv1.UserInfo{
			Username: "erin", UID: "erin-uid", Groups: []string{"support", "system:masters"}, Extra: map[string]authenticationv1.ExtraValue{"example.org/level": {"5"}},
		}}
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(answer)
}

// kubeconfig is a file for --authentication-token-webhook-config-file.
func (w *reviewer) kubeconfig(t *testing.T) string {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
	return kubeconfigOf(t, &rest.Config{Host: w.URL + "/review", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
}
