package workspacetypes

import (
	"slices"
	"time"
)

// buildQueue has the configurations that wait to be built. Their owners, the logical
// clusters that they are in, take turns: one build at a time for each owner, and next
// is the owner for which the least time was spent lately. So an owner with a thousand
// or costly builds waits for one build of each of the others, and not the other way
// round. The zero value is empty.
type buildQueue struct {
	owners map[string]*buildOwner // those who wait, build, or have had time spent on them lately
	turns  []*buildOwner          // those who wait and do not build, in order of arrival
}

type buildOwner struct {
	cluster  string
	waiting  []*configEntry
	building bool
	spent    time.Duration
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
		q.turns = append(q.turns, o)
	}
}

// pop returns nil when nothing may be built now. The caller calls done once what it
// returned is built.
func (q *buildQueue) pop() *configEntry {
	if len(q.turns) == 0 {
		return nil
	}
	next := 0 // of equals, the first
	for n, o := range q.turns {
		if o.spent < q.turns[next].spent {
			next = n
		}
		if q.turns[next].spent == 0 {
			break // nobody is before it
		}
	}
	o := q.turns[next]
	q.turns = slices.Delete(q.turns, next, next+1)
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
		q.turns = append(q.turns, o)
		return
	}
	q.forget(o)
}

// age halves the time that was spent, so that it counts less and less.
func (q *buildQueue) age() {
	for _, o := range q.owners {
		o.spent /= 2
		q.forget(o)
	}
}

// forget drops an owner that is no different from a new one.
func (q *buildQueue) forget(o *buildOwner) {
	if !o.building && len(o.waiting) == 0 && o.spent < time.Millisecond {
		delete(q.owners, o.cluster)
	}
}
