package authn

import (
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"frontproxy/index"
)

const (
	// maxRefusals is how many refusals are kept to be explained, in as many rings
	// as refusalRings. A logical cluster has its place in one of them, so that who
	// floods one pushes out few others'; which these are nobody can know before.
	maxRefusals  = 1024
	refusalRings = 16
	ringSize     = maxRefusals / refusalRings
)

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

	seed  maphash.Seed
	rings [refusalRings]refusalRing
}

// refusalRing has the latest refusals of some logical clusters.
type refusalRing struct {
	mu   sync.Mutex
	next uint64 // of the refusals so far
	kept [ringSize]*Refusal
}

func newRefusals(instance string, now func() time.Time) *Refusals {
	return &Refusals{instance: instance, now: now, seed: maphash.MakeSeed()}
}

// Instance is what every id here begins with, before a dash.
func (s *Refusals) Instance() string { return s.instance }

// add gives the decision its id and keeps it.
func (s *Refusals) add(r *http.Request, t *index.Target, d *Decision, p Presented) {
	refusal := &Refusal{Time: s.now(), Method: bounded(r.Method), Path: bounded(r.URL.EscapedPath()), Presented: p, Target: *t, Decision: d}
	n := maphash.String(s.seed, t.Cluster) % refusalRings
	ring := &s.rings[n]
	ring.mu.Lock()
	defer ring.mu.Unlock()
	d.ID = s.instance + "-" + strconv.FormatUint(ring.next*refusalRings+n, 36)
	ring.kept[ring.next%ringSize] = refusal
	ring.next++
}

// Find returns the refusal with the id; nil when it is not of this instance or
// no longer kept. Read-only.
func (s *Refusals) Find(id string) *Refusal {
	text, ours := strings.CutPrefix(id, s.instance+"-")
	n, err := strconv.ParseUint(text, 36, 64)
	if !ours || err != nil {
		return nil
	}
	ring := &s.rings[n%refusalRings]
	ring.mu.Lock()
	defer ring.mu.Unlock()
	if r := ring.kept[n/refusalRings%ringSize]; r != nil && r.Decision.ID == id {
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
