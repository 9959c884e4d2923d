package authn

import (
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"time"

	"frontproxy/authn/identity"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

const (
	// maxRefusals is how many refusals are kept to be explained, in as many rings
	// as refusalRings. A logical cluster has its place in one of them, so that who
	// floods one pushes out few others'; which these are nobody can know before.
	maxRefusals  = 1024
	refusalRings = 16
	ringSize     = maxRefusals / refusalRings

	// Bounds of what is kept of one refusal, in bytes: its method, its path, each
	// name and each reason of a verdict, and all that was said together. With the
	// credential's description no refusal takes more than 24 KiB.
	maxKeptMethod, maxKeptPath   = 32, 1 << 10
	maxKeptName, maxKeptReason   = 512, 1 << 10
	maxKeptVerdicts, maxKeptText = 64, 16 << 10
)

// Refusal tells why a request was not admitted, without its credentials. It
// shares no memory with the request.
type Refusal struct {
	Time   time.Time
	Method string
	// Path is the request's path as it came, cut at 1 KiB; no query.
	Path      string
	Presented CredentialSummary
	// Target and ShardRoute are the Request's.
	Target     index.Target
	ShardRoute string
	Decision   *Decision
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

// add gives the decision its id and keeps a copy of it.
func (s *Refusals) add(r *Request, d *Decision, p CredentialSummary) {
	d.ID = s.instance + "-" + newRefusalID()
	refusal := &Refusal{
		Time: s.now(), Method: clip.Clone(r.Method, maxKeptMethod),
		Presented: p, Target: r.Target, ShardRoute: r.ShardRoute, Decision: d.kept(),
	}
	if r.URL != nil {
		refusal.Path = clip.Clone(r.URL.EscapedPath(), maxKeptPath)
	}
	ring := &s.rings[maphash.String(s.seed, r.Target.Cluster)%refusalRings]
	ring.mu.Lock()
	defer ring.mu.Unlock()
	ring.kept[ring.next%ringSize] = refusal
	ring.next++
}

// newRefusalID is random: an ID reveals neither which ring a refusal is in, which
// would help an attacker to evict it, nor how many refusals there have been.
func newRefusalID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return strconv.FormatUint(binary.BigEndian.Uint64(id[:]), 36)
}

// kept is a copy of a refusal's Decision within the bounds, which shares no text
// with the request: reasons quote it.
func (d *Decision) kept() *Decision {
	out := *d
	out.Verdicts, out.Guarded = nil, nil
	room := maxKeptText
	for i, v := range d.Verdicts {
		v.Authenticator, v.Reason = clip.Clone(v.Authenticator, maxKeptName), clip.Clone(v.Reason, maxKeptReason)
		if room -= len(v.Authenticator) + len(v.Reason); room < 0 || i == maxKeptVerdicts {
			out.Verdicts = append(out.Verdicts, Verdict{Authenticator: "others", Outcome: v.Outcome, Reason: strconv.Itoa(len(d.Verdicts)-i) + " more verdicts were not kept"})
			break
		}
		out.Verdicts = append(out.Verdicts, v)
	}
	for _, g := range d.Guarded[:min(len(d.Guarded), identity.MaxRemoved)] {
		out.Guarded = append(out.Guarded, clip.Clone(g, 2*identity.MaxQuoted))
	}
	return &out
}

// Find returns the refusal with the id; nil when it is not of this instance or
// no longer kept. Read-only.
func (s *Refusals) Find(id string) *Refusal {
	if !strings.HasPrefix(id, s.instance+"-") {
		return nil
	}
	for i := range s.rings {
		if r := s.rings[i].find(id); r != nil {
			return r
		}
	}
	return nil
}

func (ring *refusalRing) find(id string) *Refusal {
	ring.mu.Lock()
	defer ring.mu.Unlock()
	for _, r := range ring.kept {
		if r != nil && r.Decision.ID == id {
			return r
		}
	}
	return nil
}
