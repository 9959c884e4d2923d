package index

import "slices"

// maxFormer bounds the former holders that are remembered of one cluster.
const maxFormer = 8

// former is where a cluster that has moved, or is moving, was before.
type former struct {
	last   string   // the shard that held it last
	shards []string // that held it before, oldest first; never last
}

// settle computes who holds a cluster, and remembers who did.
func (x *Index) settle(id clusterID) {
	c := x.clusters.at(uint32(id))
	was := c.holder
	c.holder = x.holderOf(id)
	switch {
	case was == c.holder || was == 0:
	case c.holder == 0:
		delete(x.former, c.name) // what remains of it has not been seen to move here
	case was == conflict:
		x.moved(c.name, "", x.shards[c.holder].name)
	case c.holder == conflict:
		x.moved(c.name, x.shards[was].name, "")
	default:
		x.moved(c.name, x.shards[was].name, x.shards[c.holder].name)
	}
}

// moved notes who held a cluster and who holds it now; "" is a conflict.
func (x *Index) moved(cluster, from, to string) {
	f := x.former[cluster]
	if f == nil {
		if from == "" {
			return // it began as a conflict
		}
		f = &former{}
		x.former[cluster] = f
	}
	if from != "" {
		f.last = from
	}
	if to == "" || to == f.last {
		return
	}
	if f.last != "" && !slices.Contains(f.shards, f.last) {
		f.shards = append(f.shards, f.last)
	}
	if len(f.shards) > maxFormer {
		f.shards = f.shards[1:]
	}
	f.shards = slices.DeleteFunc(f.shards, func(s string) bool { return s == to })
	f.last = to
}

// Former returns the shards that were seen to hold a logical cluster before the
// one that does now, by name; nil for nearly every cluster. What moved before
// this process began to watch is not known.
func (x *Index) Former(cluster string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if f := x.former[cluster]; f != nil {
		return slices.Clone(f.shards)
	}
	return nil
}
