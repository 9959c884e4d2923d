package authn

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"frontproxy/index"
)

// maxRefusals is how many refusals are kept to be explained.
const maxRefusals = 1024

// Refusal is the whole story of a request that was not admitted, without its
// credentials.
type Refusal struct {
	Time   time.Time
	Method string
	// Path is the request's path as it came, cut at 1 KiB; no query.
	Path      string
	Presented Presented
	Target    index.Target
	Decision  *Decision
}

// Refusals remembers the latest refusals by id, a bounded number of them.
type Refusals struct {
	instance string
	now      func() time.Time

	mu   sync.Mutex
	next uint64 // of the refusals so far
	ring [maxRefusals]*Refusal
}

func newRefusals(instance string, now func() time.Time) *Refusals {
	return &Refusals{instance: instance, now: now}
}

// Instance is what every id here begins with, before a dash.
func (s *Refusals) Instance() string { return s.instance }

// add gives the decision its id and keeps it.
func (s *Refusals) add(r *http.Request, t *index.Target, d *Decision, p Presented) {
	refusal := &Refusal{Time: s.now(), Method: bounded(r.Method), Path: bounded(r.URL.EscapedPath()), Presented: p, Target: *t, Decision: d}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.ID = s.instance + "-" + strconv.FormatUint(s.next, 36)
	s.ring[s.next%maxRefusals] = refusal
	s.next++
}

// Find returns the refusal with the id; nil when it is not of this instance or
// no longer kept. Read-only.
func (s *Refusals) Find(id string) *Refusal {
	text, ours := strings.CutPrefix(id, s.instance+"-")
	n, err := strconv.ParseUint(text, 36, 64)
	if !ours || err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.ring[n%maxRefusals]; r != nil && r.Decision.ID == id {
		return r
	}
	return nil
}

func bounded(s string) string {
	const limit = 1 << 10
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
