package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
	"frontproxy/internal/polltest"
)

// TestWebhookTokenSize: too long tokens are refused, and not sent.
func TestWebhookTokenSize(t *testing.T) {
	s := tokentest.ServeReviews(t, tokentest.Says(tokentest.SaysAlice))
	w := newTest(t, s, nil)
	_, _, err := w.AuthenticateToken(t.Context(), token.Parse(strings.Repeat("a", maxToken+1)))
	if err == nil || errors.Is(err, token.ErrUndecided) || !strings.Contains(err.Error(), "at most 65536") || len(err.Error()) > 200 {
		t.Errorf("error %v, want a refusal", err)
	}
	if n := s.Asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
	if u, _, err := w.AuthenticateToken(t.Context(), token.Parse(strings.Repeat("a", maxToken))); err != nil || u.GetName() != "alice" {
		t.Errorf("the longest: %v, %v", u, err)
	}
}

// slow answers when its test ends, or leave is called.
func slow(t *testing.T) (w *Authenticator, s *tokentest.ReviewServer, leave func()) {
	t.Helper()
	left := make(chan struct{})
	s = tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		<-left
		tokentest.Says(tokentest.SaysAlice)(w, q)
	})
	leave = sync.OnceFunc(func() { close(left) })
	t.Cleanup(leave) // before the server closes
	return newTest(t, s, nil), s, leave
}

func inLine(w *Authenticator) (questions, waiters int) {
	return w.questions.Len()
}

// waitForLine waits until this many questions are under way and this many requests wait.
func waitForLine(t *testing.T, w *Authenticator, questions, waiters int) {
	t.Helper()
	polltest.Until(t, fmt.Sprintf("%d questions and %d who wait", questions, waiters), func() bool {
		q, n := inLine(w)
		return q == questions && n == waiters
	})
}

// TestWebhookGarbageOfClientsWhoLeft: what clients leave behind at a slow
// webhook are the questions that were sent, and nothing that waits for its turn.
func TestWebhookGarbageOfClientsWhoLeft(t *testing.T) {
	w, s, leave := slow(t)
	ctx, cancel := context.WithCancel(t.Context())
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	const clients = maxQuestions - 1
	for i := range clients {
		wg.Go(func() {
			if _, _, err := w.AuthenticateToken(ctx, token.Parse(strings.Repeat("a", maxToken-10)+fmt.Sprint(i))); !errors.Is(err, token.ErrUndecided) {
				t.Errorf("error %v, want undecided", err)
			}
		})
	}
	waitForLine(t, w, clients, clients)
	polltest.Until(t, "it is asked", func() bool { return s.Asked.Load() == maxCalls })
	cancel()
	wg.Wait()
	waitForLine(t, w, maxCalls, 0)
	// A connection has a few goroutines on either side.
	if n := runtime.NumGoroutine() - before; n > 10*maxCalls {
		t.Errorf("%d goroutines are left", n)
	}
	leave()
	waitForLine(t, w, 0, 0)
	if n := s.Asked.Load(); n != maxCalls {
		t.Errorf("asked %d times, want %d", n, maxCalls)
	}
	if u, _, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken)); err != nil || u.GetName() != "alice" {
		t.Errorf("afterwards: %v, %v", u, err)
	}
}

// TestWebhookQuestionsAreBounded: beyond the bounds a token is undecided at
// once, and those already in line get their answers.
func TestWebhookQuestionsAreBounded(t *testing.T) {
	w, _, leave := slow(t)
	var wg sync.WaitGroup
	ask := func(raw string) {
		wg.Go(func() {
			if _, _, err := w.AuthenticateToken(t.Context(), token.Parse(raw)); err != nil {
				t.Errorf("in line: %v", err)
			}
		})
	}
	for i := range maxQuestions {
		ask(fmt.Sprint("token-", i))
	}
	waitForLine(t, w, maxQuestions, maxQuestions)
	_, _, err := w.AuthenticateToken(t.Context(), token.Parse("one-more"))
	if !errors.Is(err, token.ErrUndecided) || !strings.Contains(err.Error(), "256 are already running") {
		t.Errorf("one more: %v", err)
	}
	ask("token-0") // joins
	waitForLine(t, w, maxQuestions, maxQuestions+1)
	leave()
	wg.Wait()
	waitForLine(t, w, 0, 0)
}

// TestStrangersLeaveRoomAtTheWebhook: garbage tokens from one address, whatever
// clusters it names, or for one cluster, from whatever addresses, fill half of the
// line at a webhook that does not answer; others' first logins are asked at once.
func TestStrangersLeaveRoomAtTheWebhook(t *testing.T) {
	for name, stranger := range map[string]func(n int) (address, cluster string){
		"one address":      func(n int) (string, string) { return fmt.Sprintf("192.0.2.1:%d", 1024+n), fmt.Sprint("cluster-", n) },
		"one IPv6 network": func(n int) (string, string) { return fmt.Sprintf("[2001:db8::%x]:99", n+1), fmt.Sprint("cluster-", n) },
		"for one cluster":  func(n int) (string, string) { return fmt.Sprintf("10.0.%d.%d:99", n/256, n%256), "victim" },
		"one pair of both": func(n int) (string, string) { return fmt.Sprintf("192.0.2.1:%d", 1024+n), "victim" },
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{})
			s := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
				if strings.HasPrefix(q.Spec.Token, "garbage") {
					<-left
					tokentest.Says(`{}`)(w, q)
					return
				}
				tokentest.Says(tokentest.SaysAlice)(w, q)
			})
			leave := sync.OnceFunc(func() { close(left) })
			t.Cleanup(leave)
			w := newTest(t, s, nil)
			decide := func(raw, address, cluster string) int {
				switch u, _, err := w.AuthenticateToken(context.Background(), token.Token{Raw: raw, Client: address, Cluster: cluster}); {
				case errors.Is(err, token.ErrUndecided):
					return http.StatusServiceUnavailable
				case err != nil || u == nil:
					return http.StatusUnauthorized
				}
				return http.StatusOK
			}
			var wg sync.WaitGroup
			var refused, undecided atomic.Int64
			const garbage = 2 * maxQuestions
			for n := range garbage {
				address, cluster := stranger(n)
				wg.Go(func() {
					if decide(fmt.Sprint("garbage-", n), address, cluster) == http.StatusUnauthorized {
						refused.Add(1)
					} else {
						undecided.Add(1)
					}
				})
			}
			polltest.Until(t, "half of the line is full", func() bool {
				questions, _ := inLine(w)
				return questions == maxQuestions/2 && undecided.Load() == garbage-maxQuestions/2 && s.Asked.Load() == maxCalls/2
			})
			for user := range 10 {
				address, cluster := fmt.Sprintf("198.51.100.%d:99", user), fmt.Sprint("other-", user)
				if got := decide(fmt.Sprint("user-", user), address, cluster); got != http.StatusOK {
					t.Errorf("somebody else's first login: %d", got)
				}
			}
			if n := s.Asked.Load(); n != maxCalls/2+10 {
				t.Errorf("asked %d times, want %d", n, maxCalls/2+10)
			}
			leave()
			wg.Wait()
			waitForLine(t, w, 0, 0)
			if refused.Load() != maxQuestions/2 {
				t.Errorf("%d were refused, want %d", refused.Load(), maxQuestions/2)
			}
		})
	}
}

// TestWebhookQuestionsKeepTheTokenOnly: a question outlives its request.
func TestWebhookQuestionsKeepTheTokenOnly(t *testing.T) {
	w := newTest(t, tokentest.ServeReviews(t, tokentest.Says(`{}`)), nil)
	asked := make(chan string, 1)
	w.reviewer = reviewerFunc(func(raw string) { asked <- raw })
	header := "Bearer " + strings.Repeat(" ", 1<<20) + "token"
	if _, _, err := w.AuthenticateToken(t.Context(), token.Parse(header[len(header)-len("token"):])); err == nil {
		t.Fatal("accepted")
	}
	got := uintptr(unsafe.Pointer(unsafe.StringData(<-asked)))
	if begin := uintptr(unsafe.Pointer(unsafe.StringData(header))); got >= begin && got < begin+uintptr(len(header)) {
		t.Error("the question keeps the whole header")
	}
}

// TestWebhookQuestionOutlivesARequestThatDoesNotWait: a request that must not wait gets no answer,
// and starts the question whose answer the next one finds. However many come with one token, they
// leave no more behind.
func TestWebhookQuestionOutlivesARequestThatDoesNotWait(t *testing.T) {
	w, s, leave := slow(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, _, err := w.AuthenticateToken(ended, token.Parse(opaqueToken)); !errors.Is(err, token.ErrUndecided) {
			t.Errorf("at first: %v, want undecided", err)
		}
	}
	waitForLine(t, w, 1, 1)
	polltest.Until(t, "it is asked", func() bool { return s.Asked.Load() == 1 })
	leave()
	waitForLine(t, w, 0, 0)
	if u, _, err := w.AuthenticateToken(ended, token.Parse(opaqueToken)); err != nil || u.GetName() != "alice" {
		t.Errorf("then: %v, %v", u, err)
	}
	if n := s.Asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// reviewerFunc refuses every token, when it has been told of it.
type reviewerFunc func(raw string)

func (f reviewerFunc) review(_ context.Context, raw string, _ []string) (*authenticationv1.TokenReviewStatus, error) {
	f(raw)
	return &authenticationv1.TokenReviewStatus{}, nil
}
