package authn

import (
	"frontproxy/authn/authstatus"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// WebhookResult is what became of a question to the webhook.
type WebhookResult string

// The results there are.
const (
	// WebhookAccepted: the webhook knows the token.
	WebhookAccepted WebhookResult = "accepted"
	// WebhookRefused: it answered with a TokenReview that does not admit.
	WebhookRefused WebhookResult = "refused"
	// WebhookUnauthorized: it answered 401 or 403.
	WebhookUnauthorized WebhookResult = "unauthorized"
	// WebhookFailed: it gave no answer that decides.
	WebhookFailed WebhookResult = "failed"
)

// WebhookResults are all there are.
func WebhookResults() []WebhookResult {
	return []WebhookResult{WebhookAccepted, WebhookRefused, WebhookUnauthorized, WebhookFailed}
}

// WebhookState is the webhook's health, by its answers.
type WebhookState string

// The states of the webhook.
const (
	// WebhookPending: it was not asked yet.
	WebhookPending WebhookState = "Pending"
	// WebhookReady: it answers.
	WebhookReady WebhookState = "Ready"
	// WebhookFailing: the last question got no answer.
	WebhookFailing WebhookState = "Failing"
	// WebhookDoubtsProxy: all that comes is 401 or 403, for a minute or ever since
	// the start, so it may be the proxy's credential that is refused.
	WebhookDoubtsProxy WebhookState = "Unauthorized"
)

// WebhookStates are all there are.
func WebhookStates() []WebhookState {
	return []WebhookState{WebhookPending, WebhookReady, WebhookFailing, WebhookDoubtsProxy}
}

// webhookDoubtAfter is for how long 401 and 403 are all that comes before they
// are taken for a sign that the proxy's credential is refused.
const webhookDoubtAfter = time.Minute

// webhookLogEvery is how often, at most, each state is logged.
const webhookLogEvery = time.Minute

const webhookDoubt = "the webhook may not accept our credential: it answers nothing but 401 or 403; check the user in the file of " + webhookConfigFlag

// WebhookStatus is what operators see of the webhook.
type WebhookStatus struct {
	State WebhookState
	// Detail says why it is not ready; empty when there is nothing to say.
	Detail string
	// Counts are questions by result.
	Counts map[WebhookResult]uint64
}

// webhookHealth is what the webhook's answers say about it. Safe for concurrent
// use.
type webhookHealth struct {
	log klog.Logger

	mu     sync.Mutex // guards what follows
	counts map[WebhookResult]uint64
	state  WebhookState
	detail string
	// answered is when the question was asked that the webhook last answered with
	// a TokenReview; unauthorized that of the first 401 or 403 since; zero: none.
	answered, unauthorized time.Time
	logged                 map[WebhookState]time.Time // when each state was last logged
}

func newWebhookHealth(log klog.Logger) *webhookHealth {
	return &webhookHealth{log: log, counts: map[WebhookResult]uint64{}, state: WebhookPending, logged: map[WebhookState]time.Time{}}
}

// note counts a result of a question asked at the given time. The error, which
// holds no token, says more of a failure.
func (h *webhookHealth) note(result WebhookResult, asked time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[result]++
	state, detail := WebhookReady, ""
	switch result {
	case WebhookFailed:
		state, detail = WebhookFailing, err.Error()
	case WebhookUnauthorized:
		if h.unauthorized.IsZero() {
			h.unauthorized = asked
		}
		if h.answered.IsZero() || asked.Sub(h.unauthorized) >= webhookDoubtAfter {
			state, detail = WebhookDoubtsProxy, webhookDoubt
		}
	default:
		h.unauthorized = time.Time{}
		if asked.After(h.answered) {
			h.answered = asked
		}
	}
	before := h.state
	h.state, h.detail = state, detail
	if last, ok := h.logged[state]; state == before || ok && asked.Sub(last) < webhookLogEvery {
		return
	}
	h.logged[state] = asked
	switch state {
	case WebhookReady:
		h.log.V(2).Info("The authentication webhook responds")
	case WebhookDoubtsProxy:
		h.log.Error(err, "The authentication webhook may not accept our credential: it answers nothing but 401 or 403; check the user in its kubeconfig", "flag", webhookConfigFlag)
	default:
		h.log.Error(err, "The authentication webhook does not respond; tokens that only it may accept get 503")
	}
}

// answeredAfter says whether a question asked after t was answered with a
// TokenReview.
func (h *webhookHealth) answeredAfter(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered.After(t)
}

// Status is the webhook's health.
func (w *Webhook) Status() WebhookStatus {
	h := w.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := WebhookStatus{State: h.state, Detail: h.detail, Counts: make(map[WebhookResult]uint64, len(h.counts))}
	for result, n := range h.counts {
		s.Counts[result] = n
	}
	return s
}

// Describe implements describer.
func (w *Webhook) Describe() []authstatus.Authenticator {
	s := w.Status()
	return authstatus.NotReloaded([]authstatus.Authenticator{{Name: w.Name(), State: string(s.State), Detail: s.Detail}}, w.kubeconfig.LastError())
}
