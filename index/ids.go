package index

import "hash/maphash"

// ids finds records by a key that the records themselves hold, so a slot is
// eight bytes where a map's would repeat the key. Open addressing, linear
// probing. It is made of parts, chosen by the hash, which grow one by one: no
// event copies all of a large table while lookups wait, and old and new table
// never stand beside each other whole.
type ids struct {
	seed  maphash.Seed
	parts [1 << partBits]idPart
	len   int
}

const (
	partBits = 8
	minSlots = 8
)

type idPart struct {
	slots []idSlot // a power of two of them, or none
	used  int
}

// idSlot is free if id is 0.
type idSlot struct{ hash, id uint32 }

func newIDs() ids { return ids{seed: maphash.MakeSeed()} }

// ofString returns a string's hash.
func (t *ids) ofString(s string) uint64 { return maphash.String(t.seed, s) }

// ofPlace returns a place's hash.
func (t *ids) ofPlace(p place) uint64 {
	h := maphash.String(t.seed, p.name) ^ (uint64(p.parent)<<16|uint64(p.shard))*0x9e3779b97f4a7c15
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (t *ids) part(hash uint64) *idPart { return &t.parts[hash>>(64-partBits)] }

// find returns the id of that hash that is the same, 0 when there is none.
func (t *ids) find(hash uint64, same func(id uint32) bool) uint32 {
	slots := t.part(hash).slots
	if len(slots) == 0 {
		return 0
	}
	low := uint32(hash) //nolint:gosec // its lower half
	for i := int(low); ; i++ {
		switch s := &slots[i&(len(slots)-1)]; {
		case s.id == 0:
			return 0
		case s.hash == low && same(s.id):
			return s.id
		}
	}
}

// add adds an id that is not there.
func (t *ids) add(hash uint64, id uint32) {
	p := t.part(hash)
	if 4*(p.used+1) > 3*len(p.slots) {
		old := p.slots
		p.slots = make([]idSlot, max(minSlots, 2*len(old)))
		for _, s := range old {
			if s.id != 0 {
				p.put(s)
			}
		}
	}
	p.put(idSlot{uint32(hash), id}) //nolint:gosec // its lower half
	p.used++
	t.len++
}

func (p *idPart) put(s idSlot) {
	i := int(s.hash)
	for p.slots[i&(len(p.slots)-1)].id != 0 {
		i++
	}
	p.slots[i&(len(p.slots)-1)] = s
}

// remove removes an id that is there.
func (t *ids) remove(hash uint64, id uint32) {
	p := t.part(hash)
	mask := len(p.slots) - 1
	i := int(uint32(hash)) & mask //nolint:gosec // its lower half
	for p.slots[i].id != id {
		i = (i + 1) & mask
	}
	// What was put further on because of it moves up, so that no probe ends early.
	for j := (i + 1) & mask; p.slots[j].id != 0; j = (j + 1) & mask {
		home := int(p.slots[j].hash) & mask
		if (j-home)&mask >= (j-i)&mask {
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = idSlot{}
	p.used--
	t.len--
}

// named returns a cluster's record, 0 when nothing names it.
func (x *Index) named(name string) clusterID {
	return clusterID(x.names.find(x.names.ofString(name), func(id uint32) bool { return x.clusters.at(id).name == name }))
}

// placed returns the record of the Workspace at a place, 0 when there is none.
func (x *Index) placed(p place) workspaceID {
	return workspaceID(x.places.find(x.places.ofPlace(p), func(id uint32) bool { return x.isAt(workspaceID(id), p) }))
}
