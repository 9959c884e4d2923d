package proxy

import "container/list"

// recheckQueue has the streams whose recheck is due, and bounds how many are rechecked
// at a time: a recheck may have to wait for a tenant's issuer, a shard or a webhook, and
// one that never answers holds a slot until recheckTimeout. So the slots are divided
// twice: among the sources (what rechecks wait for) and, for each source, among its payers
// (whose streams they are); see authn.Decision.RecheckPayer. The rules:
//
//   - A source may have half as many slots as are free beside its own, a payer a
//     quarter. The first slot of either needs only a free one.
//   - A slot that becomes free goes to the source with the fewest slots. Its payers take
//     turns; those whose last recheck was not slow come first.
//   - A payer's streams are rechecked in the order in which they became due.
//
// The zero value is empty. It is not safe for concurrent use.
type recheckQueue struct {
	running int // slots in use
	sources map[string]*recheckSource
}

// rechecksAtOnce bounds how many rechecks run at a time.
const rechecksAtOnce = 256

// The part of the free slots that a source and a payer may have, as a divisor.
const (
	recheckSourcePart = 2
	recheckPayerPart  = 4
)

// recheckSource is something that rechecks wait for. It is forgotten with its last
// payer.
type recheckSource struct {
	name    string
	running int
	payers  map[string]*recheckPayer
	// waiting has the payers with streams that wait, in the order of their turns.
	// slow has those of them whose last recheck took long.
	waiting, slow list.List
}

// recheckPayer is forgotten when none of its streams waits for a recheck or is rechecked.
type recheckPayer struct {
	name    string
	source  *recheckSource
	running int
	slow    bool
	streams list.List     // that wait
	turn    *list.Element // in the source's waiting or slow; nil: no stream waits
}

// add queues a stream.
func (q *recheckQueue) add(st *stream) {
	p := q.payer(st)
	st.payer, st.queued = p, p.streams.PushBack(st)
	p.wait()
}

// payer returns the payer of a stream. A new payer is slow if the stream's last recheck was.
func (q *recheckQueue) payer(st *stream) *recheckPayer {
	var source, name string
	if d := st.admittedBy.decision; d != nil {
		source, name = d.RecheckPayer(&st.admittedBy.request.Target)
	}
	s := q.sources[source]
	if s == nil {
		s = &recheckSource{name: source, payers: map[string]*recheckPayer{}}
		if q.sources == nil {
			q.sources = map[string]*recheckSource{}
		}
		q.sources[source] = s
	}
	p := s.payers[name]
	if p == nil {
		p = &recheckPayer{name: name, source: s, slow: st.slow}
		s.payers[name] = p
	}
	return p
}

// next takes a slot for the stream whose turn it is; nil: no stream may have one now.
func (q *recheckQueue) next() *stream {
	var source *recheckSource
	for _, s := range q.sources {
		if s.waiting.Len()+s.slow.Len() > 0 && q.room(s.running, recheckSourcePart) && (source == nil || s.running < source.running) {
			source = s
		}
	}
	if source == nil {
		return nil
	}
	for _, turns := range [...]*list.List{&source.waiting, &source.slow} {
		for e := turns.Front(); e != nil; e = e.Next() { // only payers that have slots are passed over
			if p := e.Value.(*recheckPayer); q.room(p.running, recheckPayerPart) { //nolint:forcetypeassert // nothing else is in it
				turns.MoveToBack(e)
				return q.take(p)
			}
		}
	}
	return nil
}

// room says whether a source or payer that has n slots may have another.
func (q *recheckQueue) room(n, part int) bool {
	free := rechecksAtOnce - q.running - 1
	return free >= 0 && (n == 0 || n+1 <= free/part)
}

// take takes a slot for a payer's first stream that waits.
func (q *recheckQueue) take(p *recheckPayer) *stream {
	st := p.streams.Remove(p.streams.Front()).(*stream) //nolint:forcetypeassert // nothing else is in it
	st.queued = nil
	p.wait()
	p.count(q, 1)
	return st
}

// end gives back the slot of a stream whose recheck has ended, and takes one for the next
// stream; nil: there is none. slow says that the recheck was slow. With stay, another stream
// of the same payer comes next, if the payer may have the slot.
func (q *recheckQueue) end(st *stream, slow, stay bool) *stream {
	p := st.payer
	st.payer, st.slow = nil, slow
	p.count(q, -1)
	if p.slow != slow {
		p.leave()
		p.slow = slow
		p.wait()
	}
	var next *stream
	if stay && p.streams.Len() > 0 && q.room(p.running, recheckPayerPart) && q.room(p.source.running, recheckSourcePart) {
		next = q.take(p)
	} else {
		next = q.next()
	}
	q.forget(p)
	return next
}

// remove takes out a stream that waits; one that is being rechecked keeps its slot.
func (q *recheckQueue) remove(st *stream) {
	if st.queued == nil {
		return
	}
	p := st.payer
	p.streams.Remove(st.queued)
	st.payer, st.queued = nil, nil
	p.wait()
	q.forget(p)
}

func (q *recheckQueue) forget(p *recheckPayer) {
	if p.running > 0 || p.streams.Len() > 0 {
		return
	}
	s := p.source
	delete(s.payers, p.name)
	if len(s.payers) == 0 {
		delete(q.sources, s.name)
	}
}

func (p *recheckPayer) count(q *recheckQueue, n int) {
	p.running += n
	p.source.running += n
	q.running += n
}

// wait puts the payer in line for a turn if it has streams that wait, else takes it out.
func (p *recheckPayer) wait() {
	switch {
	case p.streams.Len() == 0:
		p.leave()
	case p.turn == nil:
		p.turn = p.turns().PushBack(p)
	}
}

func (p *recheckPayer) leave() {
	if p.turn != nil {
		p.turns().Remove(p.turn)
		p.turn = nil
	}
}

func (p *recheckPayer) turns() *list.List {
	if p.slow {
		return &p.source.slow
	}
	return &p.source.waiting
}
