package index

import "hash/maphash"

// hashIndex finds records by a key that the records themselves hold. So a slot takes
// eight bytes, where a map would repeat the key. It uses open addressing with linear
// probing. It consists of parts, chosen by the hash, that grow one at a time: no
// event copies all of a large table while lookups wait, and the whole old and new
// tables are never in memory at once.
type hashIndex struct {
	seed  maphash.Seed
	parts [1 << partBits]hashPart
}

const (
	partBits = 8
	minSlots = 8
)

type hashPart struct {
	slots []hashSlot // a power of two of them, or none
	used  int
}

// hashSlot is free if id is 0.
type hashSlot struct{ hash, id uint32 }

func newHashIndex() hashIndex { return hashIndex{seed: maphash.MakeSeed()} }

// hashString returns a string's hash.
func (t *hashIndex) hashString(s string) uint64 { return maphash.String(t.seed, s) }

// hashKey returns a workspaceKey's hash.
func (t *hashIndex) hashKey(p workspaceKey) uint64 {
	h := maphash.String(t.seed, p.name) ^ (uint64(p.parent)<<16|uint64(p.shard))*0x9e3779b97f4a7c15
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (t *hashIndex) part(hash uint64) *hashPart { return &t.parts[hash>>(64-partBits)] }

// find returns the ID with that hash for which same reports true, or 0.
func (t *hashIndex) find(hash uint64, same func(id uint32) bool) uint32 {
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

// add adds an ID that is not in the index.
func (t *hashIndex) add(hash uint64, id uint32) {
	p := t.part(hash)
	if 4*(p.used+1) > 3*len(p.slots) {
		old := p.slots
		p.slots = make([]hashSlot, max(minSlots, 2*len(old)))
		for _, s := range old {
			if s.id != 0 {
				p.put(s)
			}
		}
	}
	p.put(hashSlot{uint32(hash), id}) //nolint:gosec // its lower half
	p.used++
}

func (p *hashPart) put(s hashSlot) {
	i := int(s.hash)
	for p.slots[i&(len(p.slots)-1)].id != 0 {
		i++
	}
	p.slots[i&(len(p.slots)-1)] = s
}

// remove removes an ID that is in the index.
func (t *hashIndex) remove(hash uint64, id uint32) {
	p := t.part(hash)
	mask := len(p.slots) - 1
	i := int(uint32(hash)) & mask //nolint:gosec // its lower half
	for p.slots[i].id != id {
		i = (i + 1) & mask
	}
	// Slots that were displaced by it move up, so that no probe ends early.
	for j := (i + 1) & mask; p.slots[j].id != 0; j = (j + 1) & mask {
		home := int(p.slots[j].hash) & mask
		if (j-home)&mask >= (j-i)&mask {
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = hashSlot{}
	p.used--
}

// clusterByName returns a cluster's record, or 0 if nothing names the cluster.
func (idx *Index) clusterByName(name string) clusterID {
	return clusterID(idx.clusterNames.find(idx.clusterNames.hashString(name), func(id uint32) bool { return idx.clusters.at(id).name == name }))
}

// workspaceByKey returns the record of a Workspace, or 0.
func (idx *Index) workspaceByKey(p workspaceKey) workspaceID {
	return workspaceID(idx.workspaceKeys.find(idx.workspaceKeys.hashKey(p), func(id uint32) bool { return idx.hasKey(workspaceID(id), p) }))
}
