package proxy

import "container/list"

// recheckQueue has the streams whose recheck is due, and bounds how many are rechecked
// at a time: a recheck may have to wait for a tenant's issuer, a shard or a webhook, and
// one that never answers holds a slot until recheckTimeout. So the slots are divided
// twice: among the sources (what rechecks wait for) and, for each source, among its flows
// (whose streams they are, in the word of Kubernetes' API Priority and Fairness); see
// authn.Decision.RecheckFlow. The rules:
//
//   - A source may have half as many slots as are free beside its own, a flow a
//     quarter. The first slot of either needs only a free one.
//   - A slot that becomes free goes to the source with the fewest slots. Its flows take
//     turns; those whose last recheck was not slow come first.
//   - A flow's streams are rechecked in the order in which they became due.
//
// The zero value is empty. It is not safe for concurrent use.
type recheckQueue struct {
	running int // slots in use
	sources map[string]*recheckSource
}

// rechecksAtOnce bounds how many rechecks run at a time.
const rechecksAtOnce = 256

// The part of the free slots that a source and a flow may have, as a divisor.
const (
	recheckSourcePart = 2
	recheckFlowPart   = 4
)

// recheckSource is something that rechecks wait for. It is forgotten with its last
// flow.
type recheckSource struct {
	name    string
	running int
	flows   map[string]*recheckFlow
	// waiting has the flows with streams that wait, in the order of their turns.
	// slow has those of them whose last recheck took long.
	waiting, slow list.List
}

// recheckFlow is forgotten when none of its streams waits for a recheck or is rechecked.
type recheckFlow struct {
	name    string
	source  *recheckSource
	running int
	slow    bool
	streams list.List     // that wait
	turn    *list.Element // in the source's waiting or slow; nil: no stream waits
}

// add queues a stream.
func (q *recheckQueue) add(st *stream) {
	f := q.flow(st)
	st.flow, st.queued = f, f.streams.PushBack(st)
	f.wait()
}

// flow returns the flow of a stream. A new flow is slow if the stream's last recheck was.
func (q *recheckQueue) flow(st *stream) *recheckFlow {
	var source, name string
	if d := st.admittedBy.decision; d != nil {
		source, name = d.RecheckFlow(&st.admittedBy.request.Target)
	}
	s := q.sources[source]
	if s == nil {
		s = &recheckSource{name: source, flows: map[string]*recheckFlow{}}
		if q.sources == nil {
			q.sources = map[string]*recheckSource{}
		}
		q.sources[source] = s
	}
	f := s.flows[name]
	if f == nil {
		f = &recheckFlow{name: name, source: s, slow: st.slow}
		s.flows[name] = f
	}
	return f
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
		for e := turns.Front(); e != nil; e = e.Next() { // only flows that have slots are passed over
			if p := e.Value.(*recheckFlow); q.room(p.running, recheckFlowPart) { //nolint:forcetypeassert // nothing else is in it
				turns.MoveToBack(e)
				return q.take(p)
			}
		}
	}
	return nil
}

// room reports whether a source or flow that has n slots may have another.
func (q *recheckQueue) room(n, part int) bool {
	free := rechecksAtOnce - q.running - 1
	return free >= 0 && (n == 0 || n+1 <= free/part)
}

// take takes a slot for a flow's first stream that waits.
func (q *recheckQueue) take(f *recheckFlow) *stream {
	st := f.streams.Remove(f.streams.Front()).(*stream) //nolint:forcetypeassert // nothing else is in it
	st.queued = nil
	f.wait()
	f.count(q, 1)
	return st
}

// end gives back the slot of a stream whose recheck has ended, and takes one for the next
// stream; nil: there is none. slow says that the recheck was slow. With stay, another stream
// of the same flow comes next, if the flow may have the slot.
func (q *recheckQueue) end(st *stream, slow, stay bool) *stream {
	f := st.flow
	st.flow, st.slow = nil, slow
	f.count(q, -1)
	if f.slow != slow {
		f.leave()
		f.slow = slow
		f.wait()
	}
	var next *stream
	if stay && f.streams.Len() > 0 && q.room(f.running, recheckFlowPart) && q.room(f.source.running, recheckSourcePart) {
		next = q.take(f)
	} else {
		next = q.next()
	}
	q.forget(f)
	return next
}

// remove takes out a stream that waits; one that is being rechecked keeps its slot.
func (q *recheckQueue) remove(st *stream) {
	if st.queued == nil {
		return
	}
	f := st.flow
	f.streams.Remove(st.queued)
	st.flow, st.queued = nil, nil
	f.wait()
	q.forget(f)
}

func (q *recheckQueue) forget(f *recheckFlow) {
	if f.running > 0 || f.streams.Len() > 0 {
		return
	}
	s := f.source
	delete(s.flows, f.name)
	if len(s.flows) == 0 {
		delete(q.sources, s.name)
	}
}

func (f *recheckFlow) count(q *recheckQueue, n int) {
	f.running += n
	f.source.running += n
	q.running += n
}

// wait puts the flow in line for a turn if it has streams that wait, else takes it out.
func (f *recheckFlow) wait() {
	switch {
	case f.streams.Len() == 0:
		f.leave()
	case f.turn == nil:
		f.turn = f.turns().PushBack(f)
	}
}

func (f *recheckFlow) leave() {
	if f.turn != nil {
		f.turns().Remove(f.turn)
		f.turn = nil
	}
}

func (f *recheckFlow) turns() *list.List {
	if f.slow {
		return &f.source.slow
	}
	return &f.source.waiting
}
