// Package accessreviewtest has a workspace root that answers SubjectAccessReviews in tests.
package accessreviewtest

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Root answers SubjectAccessReviews as the workspace root.
type Root struct {
	*httptest.Server
	allowed map[string]bool // by user

	mu     sync.Mutex
	asked  []authorizationv1.SubjectAccessReviewSpec
	fail   int           // answer this status instead
	denied bool          // besides what is allowed
	hold   chan struct{} // see Hold
}

// NewRoot starts one at path, which allows these users everything.
func NewRoot(t *testing.T, path string, allowed ...string) *Root {
	t.Helper()
	s := &Root{allowed: map[string]bool{}}
	for _, u := range allowed {
		s.allowed[u] = true
	}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.URL.Path != path+"/clusters/root/apis/authorization.k8s.io/v1/subjectaccessreviews" {
			t.Errorf("root is asked %s %s", r.Method, r.URL)
		}
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Errorf("review: %v", err)
		}
		s.answer(t, w, &review)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *Root) answer(t *testing.T, w http.ResponseWriter, review *authorizationv1.SubjectAccessReview) {
	s.mu.Lock()
	s.asked = append(s.asked, review.Spec)
	hold := s.hold
	s.mu.Unlock()
	if hold != nil && strings.HasPrefix(review.Spec.User, "crowd") {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != 0 {
		w.WriteHeader(s.fail)
		return
	}
	review.Status.Allowed, review.Status.Denied = s.allowed[review.Spec.User], s.denied
	review.TypeMeta = metav1.TypeMeta{Kind: "SubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(review); err != nil {
		t.Errorf("answer: %v", err)
	}
}

// Config reaches it by a kubeconfig's host that ends in suffix.
func (s *Root) Config(suffix string) *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &rest.Config{Host: s.URL + suffix, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// Hold has reviews of users whose names begin with "crowd" wait, until the test ends or the
// function returned is called.
func (s *Root) Hold(t *testing.T) (release func()) {
	t.Helper()
	hold := make(chan struct{})
	release = sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
	return release
}

// Fail answers with this status instead of a review; 0: no longer.
func (s *Root) Fail(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = code
}

// Deny says of each review, besides what is allowed, that it is denied; false: no longer.
func (s *Root) Deny(denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = denied
}

// Asked is how many reviews there have been since the last Take.
func (s *Root) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// Take returns the reviews since the last Take.
func (s *Root) Take() []authorizationv1.SubjectAccessReviewSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}
