package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
)

// TestWebhookTokenSize: too long tokens are refused, and not sent.
func TestWebhookTokenSize(t *testing.T) {
	s := newWebhookServer(t, says(saysAlice))
	w := newTestWebhook(t, s, nil)
	_, _, err := w.AuthenticateToken(t.Context(), ParseToken(strings.Repeat("a", webhookToken+1)))
	if err == nil || errors.Is(err, ErrUndecided) || !strings.Contains(err.Error(), "at most 65536") || len(err.Error()) > 200 {
		t.Errorf("error %v, want a refusal", err)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
	if u, _, err := w.AuthenticateToken(t.Context(), ParseToken(strings.Repeat("a", webhookToken))); err != nil || u.GetName() != "alice" {
		t.Errorf("the longest: %v, %v", u, err)
	}
}

// slowWebhook answers when its test ends, or leave is called.
func slowWebhook(t *testing.T) (w *Webhook, s *webhookServer, leave func()) {
	t.Helper()
	left := make(chan struct{})
	s = newWebhookServer(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		<-left
		says(saysAlice)(w, q)
	})
	leave = sync.OnceFunc(func() { close(left) })
	t.Cleanup(leave) // before the server closes
	return newTestWebhook(t, s, nil), s, leave
}

func inLine(w *Webhook) (questions, waiters int) {
	w.questions.mu.Lock()
	defer w.questions.mu.Unlock()
	return len(w.questions.questions), w.questions.waiters
}

// waitForLine polls.
func waitForLine(t *testing.T, w *Webhook, questions, waiters int) {
	t.Helper()
	pollWebhook(t, fmt.Sprintf("%d questions and %d who wait", questions, waiters), func() bool {
		q, n := inLine(w)
		return q == questions && n == waiters
	})
}

func pollWebhook(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestWebhookGarbageOfClientsWhoLeft: what clients leave behind at a slow
// webhook are the questions that were sent, and nothing that waits for its turn.
func TestWebhookGarbageOfClientsWhoLeft(t *testing.T) {
	w, s, leave := slowWebhook(t)
	ctx, cancel := context.WithCancel(t.Context())
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	const clients = webhookQuestions - 1
	for i := range clients {
		wg.Go(func() {
			if _, _, err := w.AuthenticateToken(ctx, ParseToken(strings.Repeat("a", webhookToken-10)+fmt.Sprint(i))); !errors.Is(err, ErrUndecided) {
				t.Errorf("error %v, want undecided", err)
			}
		})
	}
	waitForLine(t, w, clients, clients)
	pollWebhook(t, "it is asked", func() bool { return s.asked.Load() == webhookCalls })
	cancel()
	wg.Wait()
	waitForLine(t, w, webhookCalls, 0)
	// A connection has a few goroutines on either side.
	if n := runtime.NumGoroutine() - before; n > 10*webhookCalls {
		t.Errorf("%d goroutines are left", n)
	}
	leave()
	waitForLine(t, w, 0, 0)
	if n := s.asked.Load(); n != webhookCalls {
		t.Errorf("asked %d times, want %d", n, webhookCalls)
	}
	if u, _, err := w.AuthenticateToken(t.Context(), ParseToken(opaqueToken)); err != nil || u.GetName() != "alice" {
		t.Errorf("afterwards: %v, %v", u, err)
	}
}

// TestWebhookQuestionsAreBounded: beyond the bounds a token is undecided at
// once, and those already in line get their answers.
func TestWebhookQuestionsAreBounded(t *testing.T) {
	w, _, leave := slowWebhook(t)
	var wg sync.WaitGroup
	ask := func(raw string) {
		wg.Go(func() {
			if _, _, err := w.AuthenticateToken(t.Context(), ParseToken(raw)); err != nil {
				t.Errorf("in line: %v", err)
			}
		})
	}
	for i := range webhookQuestions {
		ask(fmt.Sprint("token-", i))
	}
	waitForLine(t, w, webhookQuestions, webhookQuestions)
	_, _, err := w.AuthenticateToken(t.Context(), ParseToken("one-more"))
	if !errors.Is(err, ErrUndecided) || !strings.Contains(err.Error(), "256 questions") {
		t.Errorf("one more: %v", err)
	}
	ask("token-0") // joins
	waitForLine(t, w, webhookQuestions, webhookQuestions+1)
	leave()
	wg.Wait()
	waitForLine(t, w, 0, 0)
}

func TestWebhookWaitersAreBounded(t *testing.T) {
	var l webhookLine
	var all []*webhookQuestion
	for range webhookWaiters {
		q, _, err := l.join(digest{1})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, q)
	}
	if _, _, err := l.join(digest{1}); err == nil || !strings.Contains(err.Error(), "4096 requests") {
		t.Errorf("one more: %v", err)
	}
	if !l.start(all[0]) {
		t.Error("nobody waits")
	}
	for _, q := range all {
		l.leave(digest{1}, q)
	}
	// It was sent: whoever comes again finds it.
	q, first, err := l.join(digest{1})
	if err != nil || first || q != all[0] {
		t.Errorf("again: %t, %v", first, err)
	}
	l.end(digest{1}, q, webhookAnswer{}, nil)
	l.leave(digest{1}, q)
	if diff := cmp.Diff([2]int{0, 0}, [2]int{len(l.questions), l.waiters}); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// TestWebhookAbandonedQuestion: one that everybody left is not sent, and who
// comes next asks anew.
func TestWebhookAbandonedQuestion(t *testing.T) {
	var l webhookLine
	old, _, err := l.join(digest{1})
	if err != nil {
		t.Fatal(err)
	}
	l.leave(digest{1}, old)
	select {
	case <-old.abandoned:
	default:
		t.Fatal("still in line")
	}
	fresh, first, err := l.join(digest{1})
	if err != nil || !first || fresh == old {
		t.Fatalf("again: first %t, %v", first, err)
	}
	if l.start(old) || !l.start(fresh) {
		t.Error("the abandoned one is sent, or the new one is not")
	}
	l.end(digest{1}, old, webhookAnswer{}, errAbandoned)
	if joined, first, err := l.join(digest{1}); err != nil || first || joined != fresh {
		t.Errorf("the end of the old one took the new one away: %t, %v", first, err)
	}
}
