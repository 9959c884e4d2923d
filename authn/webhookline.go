package authn

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
)

// errAbandoned ends a question that nobody waits for any more.
var errAbandoned = errors.New("nobody waits for the answer")

// webhookLine has the questions under way or waiting their turn, one for each
// token, and bounds them and those who wait. The zero value works.
//
// Whoever sends made up tokens must not delay others' first logins. So a client's
// address, and a logical cluster, may have no more questions in line than there is
// room left, and no more sent than could still be sent besides: one alone takes
// half, and leaves half to the others; two that crowd leave a third. Of those that
// wait the one is sent next whose address and cluster have the fewest sent.
//
// A question that waits ends with the last who wants its answer; one that was
// sent does not, so that impatient clients find the answer when they come again.
type webhookLine struct {
	mu        sync.Mutex // guards what follows, and waiters, sent and the like of the questions
	questions map[digest]*webhookQuestion
	waiters   int
	waiting   []*webhookQuestion // to be sent, in order of arrival
	sending   int
	inLine    askerCounts // questions by who asked first
	sent      askerCounts // of these, those that were sent and not answered
}

// webhookQuestion is about one token. answer and err may be read when done is
// closed.
type webhookQuestion struct {
	done, abandoned chan struct{}
	answer          webhookAnswer
	err             error

	waiters int
	asker   asker
	turn    chan struct{} // closed when it may be sent
	sent    bool
}

// join returns the question about a token, and whether it is new: then the
// caller has it answered. Everyone calls leave who got no error.
func (l *webhookLine) join(key digest, from asker) (q *webhookQuestion, first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiters >= webhookWaiters {
		return nil, false, fmt.Errorf("%d requests wait for its answers already", webhookWaiters)
	}
	q = l.questions[key]
	if first = q == nil; first {
		if len(l.questions) >= webhookQuestions {
			return nil, false, fmt.Errorf("%d questions to it are under way or wait already", webhookQuestions)
		}
		if most := webhookQuestions - len(l.questions); l.inLine.of(from) >= most {
			return nil, false, fmt.Errorf("%d questions of the client's address or for the cluster are under way or wait already", l.inLine.of(from))
		}
		q = &webhookQuestion{done: make(chan struct{}), abandoned: make(chan struct{}), asker: from, turn: make(chan struct{})}
		l.inLine.add(from, 1)
		l.waiting = append(l.waiting, q)
		l.sendNext()
		if l.questions == nil {
			l.questions = map[digest]*webhookQuestion{}
		}
		l.questions[key] = q
	}
	q.waiters++
	l.waiters++
	return q, first, nil
}

// crowded says that half of the room for questions is taken.
func (l *webhookLine) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.questions) >= webhookQuestions/2
}

func (l *webhookLine) leave(key digest, q *webhookQuestion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiters--
	if q.waiters--; q.waiters == 0 && !q.sent && l.questions[key] == q {
		l.remove(key, q)
		close(q.abandoned)
	}
}

// start says whether anybody still waits: then the question is to be sent.
func (l *webhookLine) start(q *webhookQuestion) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.sent = q.waiters > 0
	return q.sent
}

// end gives those who wait their answer.
func (l *webhookLine) end(key digest, q *webhookQuestion, a webhookAnswer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.questions[key] == q {
		l.remove(key, q)
	}
	q.answer, q.err = a, err
	close(q.done)
}

// remove takes a question out of the line and gives its place to the next. The
// caller holds mu.
func (l *webhookLine) remove(key digest, q *webhookQuestion) {
	delete(l.questions, key)
	l.inLine.add(q.asker, -1)
	if n := slices.Index(l.waiting, q); n >= 0 {
		l.waiting = slices.Delete(l.waiting, n, n+1)
	} else {
		l.sending--
		l.sent.add(q.asker, -1)
	}
	l.sendNext()
}

// sendNext gives those their turn who may be sent now. The caller holds mu.
func (l *webhookLine) sendNext() {
	for {
		next, fewest, room := -1, 0, webhookCalls-l.sending
		for n, q := range l.waiting {
			if sent := l.sent.of(q.asker); sent < room && (next < 0 || sent < fewest) {
				next, fewest = n, sent
			}
		}
		if next < 0 {
			return
		}
		q := l.waiting[next]
		l.waiting = slices.Delete(l.waiting, next, next+1)
		l.sending++
		l.sent.add(q.asker, 1)
		close(q.turn)
	}
}

// askerSlots is how many slots addresses and clusters share; who shares one shares
// its part of the line too.
const askerSlots = 256

// asker is who asks, as slots; the zero asker is nobody in particular, and has no
// share.
type asker struct{ address, cluster uint16 }

var askerSeed = maphash.MakeSeed()

// askerOf is that of a client's address, as in http.Request.RemoteAddr, and a
// logical cluster. Of IPv6 addresses the first 64 bits count: whoever has one has
// all that begin so.
func askerOf(address, cluster string) asker {
	if address == "" && cluster == "" {
		return asker{}
	}
	if from, err := netip.ParseAddrPort(address); err == nil {
		address = ""
		bits := from.Addr().Unmap().BitLen()
		if prefix, err := from.Addr().Unmap().WithZone("").Prefix(min(bits, 64)); err == nil {
			address = prefix.String()
		}
	}
	slot := func(s string) uint16 { return uint16(1 + maphash.String(askerSeed, s)%askerSlots) } //nolint:gosec // at most 256
	return asker{slot(address), slot(cluster)}
}

// askerCounts counts questions by slot.
type askerCounts struct{ addresses, clusters [askerSlots + 1]int }

// of is the larger count of an asker's two.
func (c *askerCounts) of(a asker) int {
	if a == (asker{}) {
		return 0
	}
	return max(c.addresses[a.address], c.clusters[a.cluster])
}

func (c *askerCounts) add(a asker, n int) {
	c.addresses[a.address] += n
	c.clusters[a.cluster] += n
}
