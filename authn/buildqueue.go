package authn

// buildQueue has the configurations that wait to be built. Their owners, the
// logical clusters they are in, take turns: who has a thousand to build waits
// for the others' one each, and not the other way round.
type buildQueue struct {
	turns   []string // owners with something in waiting, the next one first
	waiting map[string][]*configEntry
}

func (q *buildQueue) push(c *configEntry) {
	if q.waiting == nil {
		q.waiting = map[string][]*configEntry{}
	}
	cluster := c.name.cluster
	if len(q.waiting[cluster]) == 0 {
		q.turns = append(q.turns, cluster)
	}
	q.waiting[cluster] = append(q.waiting[cluster], c)
}

// pop returns nil when nothing waits.
func (q *buildQueue) pop() *configEntry {
	if len(q.turns) == 0 {
		q.turns = nil // lets go of what it was cut from
		return nil
	}
	cluster := q.turns[0]
	q.turns = q.turns[1:]
	c := q.waiting[cluster][0]
	if rest := q.waiting[cluster][1:]; len(rest) > 0 {
		q.waiting[cluster] = rest
		q.turns = append(q.turns, cluster)
	} else {
		delete(q.waiting, cluster)
	}
	return c
}
