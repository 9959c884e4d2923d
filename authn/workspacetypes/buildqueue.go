package workspacetypes

import (
	"container/heap"
	"time"
)

// buildQueue has the configurations that wait to be built. Their owners, the logical
// clusters that they are in, take turns: one build at a time for each owner, and next
// is the owner for which the least time was spent lately. So an owner with a thousand
// or costly builds waits for one build of each of the others, and not the other way
// round. The zero value is empty.
type buildQueue struct {
	owners map[string]*buildOwner // those who wait, build, or have had time spent on them lately
	turns  buildTurns             // those who wait and do not build
	pushed uint64
}

type buildOwner struct {
	cluster  string
	waiting  []*configEntry
	building bool
	spent    time.Duration
	turn     uint64 // among owners with the same time spent, the lower one is first
}

// push does nothing to a configuration that waits already.
func (q *buildQueue) push(c *configEntry) {
	if c.queued {
		return
	}
	c.queued = true
	o := q.owners[c.name.cluster]
	if o == nil {
		if q.owners == nil {
			q.owners = map[string]*buildOwner{}
		}
		o = &buildOwner{cluster: c.name.cluster}
		q.owners[o.cluster] = o
	}
	if o.waiting = append(o.waiting, c); len(o.waiting) == 1 && !o.building {
		q.line(o)
	}
}

// line puts o behind the owners for which no more time was spent.
func (q *buildQueue) line(o *buildOwner) {
	o.turn = q.pushed
	q.pushed++
	heap.Push(&q.turns, o)
}

// pop returns nil when nothing may be built now. The caller calls done once what it
// returned is built.
func (q *buildQueue) pop() *configEntry {
	if len(q.turns) == 0 {
		return nil
	}
	o := heap.Pop(&q.turns).(*buildOwner)
	c := o.waiting[0]
	o.building, o.waiting[0], c.queued = true, nil, false
	if o.waiting = o.waiting[1:]; len(o.waiting) == 0 {
		o.waiting = nil // lets go of what it was cut from
	}
	return c
}

// done ends a build of the cluster's that took so long.
func (q *buildQueue) done(cluster string, took time.Duration) {
	o := q.owners[cluster]
	o.building = false
	o.spent += took
	if len(o.waiting) > 0 {
		q.line(o)
		return
	}
	q.forget(o)
}

// age halves the time that was spent, so that it counts less and less. The order stays.
func (q *buildQueue) age() {
	for _, o := range q.owners {
		o.spent /= 2
		q.forget(o)
	}
	heap.Init(&q.turns)
}

// forget drops an owner that is no different from a new one.
func (q *buildQueue) forget(o *buildOwner) {
	if !o.building && len(o.waiting) == 0 && o.spent < time.Millisecond {
		delete(q.owners, o.cluster)
	}
}

// buildTurns is a heap, with the owner first whose turn is next.
type buildTurns []*buildOwner

func (t buildTurns) Len() int { return len(t) }

func (t buildTurns) Less(i, j int) bool {
	if t[i].spent != t[j].spent {
		return t[i].spent < t[j].spent
	}
	return t[i].turn < t[j].turn
}

func (t buildTurns) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

func (t *buildTurns) Push(o any) { *t = append(*t, o.(*buildOwner)) }

func (t *buildTurns) Pop() any {
	last := len(*t) - 1
	o := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return o
}
