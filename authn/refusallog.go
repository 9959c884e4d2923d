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
	// as refusalRings. Each logical cluster belongs to one of them, so a flood in one
	// pushes out those of few others; nobody can predict which these are.
	maxRefusals  = 1024
	refusalRings = 16
	ringSize     = maxRefusals / refusalRings

	// Bounds of what is kept of one refusal, in bytes: its method, its path, each
	// name and each reason of a verdict, and all verdicts together. With the
	// credential's description no refusal takes more than 24 KiB.
	maxKeptMethod, maxKeptPath   = 32, 1 << 10
	maxKeptName, maxKeptReason   = 512, 1 << 10
	maxKeptVerdicts, maxKeptText = 64, 16 << 10

	// repeatedWithin is how long a refusal that is repeated keeps its ID.
	repeatedWithin = time.Minute
)

// Refusal tells why a request was not admitted, without its credentials. It
// shares no memory with the request.
type Refusal struct {
	// Time is when the request was refused. Count is how many were refused within a
	// minute after it because of the same credential, for the same workspace and reasons,
	// itself included; Last is the time of the last one.
	Time, Last time.Time
	Count      int
	// Method, like Path and Decision, is of the first.
	Method string
	// Path is the request's path as it came, cut at 1 KiB; no query.
	Path      string
	Presented CredentialSummary
	// Target and ShardRoute are the Request's.
	Target     index.Target
	ShardRoute string
	Decision   *Decision

	sum uint64 // equal for refusals that are counted together; see RefusalLog.sum
}

// RefusalLog remembers the latest refusals by id, a bounded number of them.
type RefusalLog struct {
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

func newRefusalLog(instance string, now func() time.Time) *RefusalLog {
	return &RefusalLog{instance: instance, now: now, seed: maphash.MakeSeed()}
}

// Instance is what every id here begins with, before a dash.
func (s *RefusalLog) Instance() string { return s.instance }

// add gives the decision its id and keeps a copy of it. A refusal that is repeated within a
// minute gets the id that it had, and only its count is kept: kubectl prints a warning once if
// its text is the same, and a client's loop pushes out no others.
func (s *RefusalLog) add(r *Request, d *Decision, p CredentialSummary) {
	now, sum := s.now(), s.sum(r, d)
	ring := &s.rings[maphash.String(s.seed, r.Target.Cluster)%refusalRings]
	ring.mu.Lock()
	defer ring.mu.Unlock()
	if same := ring.repeated(sum, now); same != nil {
		same.Count, same.Last, d.ID = same.Count+1, now, same.Decision.ID
		return
	}
	d.ID = s.instance + "-" + newRefusalID()
	refusal := &Refusal{
		Time: now, Last: now, Count: 1, Method: clip.Clone(r.Method, maxKeptMethod),
		Presented: p, Target: r.Target, ShardRoute: r.ShardRoute, Decision: d.kept(), sum: sum,
	}
	if r.URL != nil {
		refusal.Path = clip.Clone(r.URL.EscapedPath(), maxKeptPath)
	}
	ring.kept[ring.next%ringSize] = refusal
	ring.next++
}

// sum is a hash of the credentials, the workspace and the reasons. Its seed is this process'
// own, so it says nothing about the credentials.
func (s *RefusalLog) sum(r *Request, d *Decision) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	add := func(text string) {
		_, _ = h.WriteString(text) // never fails
		_ = h.WriteByte(0)
	}
	add(r.Target.Cluster)
	add(r.ShardRoute)
	for _, name := range []string{"Authorization", "Sec-Websocket-Protocol"} {
		for _, value := range r.Header[name] {
			add(value)
		}
	}
	if len(r.Certificates) > 0 {
		_, _ = h.Write(r.Certificates[0].Raw)
	}
	add(strconv.Itoa(d.Status))
	for _, v := range d.Verdicts {
		add(v.Authenticator)
		add(string(v.Outcome))
		add(v.Reason)
	}
	return h.Sum64()
}

// repeated returns the latest refusal with the sum; nil if there has been none in the last
// minute. The caller holds mu.
func (ring *refusalRing) repeated(sum uint64, now time.Time) *Refusal {
	for _, r := range ring.kept {
		if r != nil && r.sum == sum && now.Sub(r.Time) < repeatedWithin {
			return r
		}
	}
	return nil
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

// Find returns the refusal with the id as it is now; nil when it is not of this instance or
// no longer kept. Its Decision is read-only.
func (s *RefusalLog) Find(id string) *Refusal {
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
			now := *r
			return &now
		}
	}
	return nil
}
