package webhook

import (
	"maps"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"frontproxy/authn/authstatus"
)

// Result is how a question to the webhook ended.
type Result string

// The results there are.
const (
	// Accepted: the webhook knows the token.
	Accepted Result = "accepted"
	// Refused: it answered with a TokenReview that does not admit.
	Refused Result = "refused"
	// Unauthorized: it answered 401 or 403.
	Unauthorized Result = "unauthorized"
	// Failed: it gave no answer that decides.
	Failed Result = "failed"
)

// Results are all there are.
func Results() []Result {
	return []Result{Accepted, Refused, Unauthorized, Failed}
}

// State is the webhook's health, by its answers.
type State string

// The states of the webhook.
const (
	// Pending: it was not asked yet.
	Pending State = "Pending"
	// Ready: it answers.
	Ready State = "Ready"
	// Failing: the last question got no answer.
	Failing State = "Failing"
	// AllUnauthorized: all that comes is 401 or 403, for a minute or ever since
	// the start, so it may be the proxy's credential that is refused.
	AllUnauthorized State = "Unauthorized"
)

// States are all there are.
func States() []State {
	return []State{Pending, Ready, Failing, AllUnauthorized}
}

// doubtAfter is for how long 401 and 403 are all that comes before they
// are taken for a sign that the proxy's credential is refused.
const doubtAfter = time.Minute

// logEvery is how often, at most, each state is logged.
const logEvery = time.Minute

const doubt = "the webhook may not accept our credential: it sends only 401 or 403; check the user in the file of " + configFlag

// Status is what operators see of the webhook.
type Status struct {
	State State `json:"state"`
	// Detail says why it is not ready; empty when there is nothing to say.
	Detail string `json:"detail,omitempty"`
	// Counts are questions by result.
	Counts map[Result]uint64 `json:"reviews,omitempty"`
}

// health is what the webhook's answers say about it. Safe for concurrent
// use.
type health struct {
	log klog.Logger

	mu     sync.Mutex // guards what follows
	counts map[Result]uint64
	state  State
	detail string
	// answered is when the last question was asked that got a TokenReview, unauthorized
	// when the first one after it was asked that got a 401 or 403; zero: none.
	answered, unauthorized time.Time
	logged                 map[State]time.Time // when each state was last logged
}

func newHealth(log klog.Logger) *health {
	return &health{log: log, counts: map[Result]uint64{}, state: Pending, logged: map[State]time.Time{}}
}

// note counts a result of a question asked at the given time. The error, which
// holds no token, says more of a failure.
func (h *health) note(result Result, asked time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[result]++
	state, detail := Ready, ""
	switch result {
	case Failed:
		state, detail = Failing, err.Error()
	case Unauthorized:
		if h.unauthorized.IsZero() {
			h.unauthorized = asked
		}
		if h.answered.IsZero() || asked.Sub(h.unauthorized) >= doubtAfter {
			state, detail = AllUnauthorized, doubt
		}
	default:
		h.unauthorized = time.Time{}
		if asked.After(h.answered) {
			h.answered = asked
		}
	}
	before := h.state
	h.state, h.detail = state, detail
	if last, ok := h.logged[state]; state == before || ok && asked.Sub(last) < logEvery {
		return
	}
	h.logged[state] = asked
	switch state {
	case Ready:
		h.log.V(2).Info("The authentication webhook responds")
	case AllUnauthorized:
		h.log.Error(err, "The authentication webhook may not accept our credential: it sends only 401 or 403; check the user in its kubeconfig", "flag", configFlag)
	default:
		h.log.Error(err, "The authentication webhook does not respond; tokens that only it may accept get 503")
	}
}

// answeredAfter reports whether a question asked after t was answered with a
// TokenReview.
func (h *health) answeredAfter(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered.After(t)
}

// Status is the webhook's health.
func (w *Authenticator) Status() Status {
	h := w.health
	h.mu.Lock()
	defer h.mu.Unlock()
	return Status{State: h.state, Detail: h.detail, Counts: maps.Clone(h.counts)}
}

// Describe implements describer.
func (w *Authenticator) Describe() []authstatus.Authenticator {
	s := w.Status()
	return authstatus.NotReloaded([]authstatus.Authenticator{{Name: w.Name(), State: string(s.State), Detail: s.Detail}}, w.kubeconfig.LastError())
}
