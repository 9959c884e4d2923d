package tokentest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/authn/internal/authntest"
)

// ReviewServer is a TokenReview server over TLS.
type ReviewServer struct {
	*httptest.Server
	Asked atomic.Int64

	mu       sync.Mutex
	answer   func(http.ResponseWriter, authenticationv1.TokenReview)
	Requests []authenticationv1.TokenReview
	Auth     []string
}

// ServeReviews starts a server that answers at /authenticate.
func ServeReviews(t *testing.T, answer func(http.ResponseWriter, authenticationv1.TokenReview)) *ReviewServer {
	s := &ReviewServer{answer: answer}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Asked.Add(1)
		var question authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil || r.Method != http.MethodPost || r.URL.Path != "/authenticate" {
			http.Error(w, "bad question", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.Requests = append(s.Requests, question)
		s.Auth = append(s.Auth, r.Header.Get("Authorization"))
		answer := s.answer
		s.mu.Unlock()
		answer(w, question)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what tests do
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// AnswerWith answers otherwise from now on.
func (s *ReviewServer) AnswerWith(answer func(http.ResponseWriter, authenticationv1.TokenReview)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Kubeconfig is what --authentication-token-webhook-config-file names.
func (s *ReviewServer) Kubeconfig(t *testing.T, server string) string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "webhook.kubeconfig")
	authntest.WriteFile(t, file, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: webhook
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: proxy
  user: {token: the-proxys-own}
contexts:
- name: webhook
  context: {cluster: webhook, user: proxy}
current-context: webhook
`, server, base64.StdEncoding.EncodeToString(ca)))
	return file
}

// Says answers with a status, in JSON.
func Says(status string) func(http.ResponseWriter, authenticationv1.TokenReview) {
	return func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"apiVersion":%q,"kind":"TokenReview","status":%s}`, q.APIVersion, status)
	}
}

// Writes answers with a status code and a text.
func Writes(code int, text string) func(http.ResponseWriter, authenticationv1.TokenReview) {
	return func(w http.ResponseWriter, _ authenticationv1.TokenReview) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text))
	}
}

// SaysAlice accepts.
const SaysAlice = `{"authenticated":true,"user":{"username":"alice","uid":"u1","groups":["a","b"],"extra":{"k":["v"]}}}`
