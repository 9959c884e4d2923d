package index

import "strings"

// typeID is an interned typeRef; 0 is none.
type typeID uint32

// typeRef is a reference to a workspace type, as a Workspace spells it.
type typeRef struct{ path, name string }

// parseTypeRef splits "root:org:name" at the last colon. Without a colon the path is
// empty, and no owner can be found.
func parseTypeRef(s string) typeRef {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return typeRef{path: s[:i], name: s[i+1:]}
	}
	return typeRef{name: s}
}

// typeTable interns typeRefs and counts their uses.
type typeTable struct {
	ids  map[typeRef]typeID
	refs slab[typeUse]
}

type typeUse struct {
	typeRef
	uses uint32
}

// swap replaces one use of old by one of ref; a ref without a name means no type.
func (t *typeTable) swap(old typeID, ref typeRef) typeID {
	if old != 0 && t.get(old) == ref {
		return old
	}
	t.release(old)
	if ref.name == "" {
		return 0
	}
	id, ok := t.ids[ref]
	if !ok {
		id = typeID(t.refs.add())
		t.ids[ref] = id
		t.refs.at(uint32(id)).typeRef = ref
	}
	t.refs.at(uint32(id)).uses++
	return id
}

func (t *typeTable) release(id typeID) {
	if id == 0 {
		return
	}
	u := t.refs.at(uint32(id))
	if u.uses--; u.uses == 0 {
		delete(t.ids, u.typeRef)
		t.refs.drop(uint32(id))
	}
}

func (t *typeTable) get(id typeID) typeRef { return t.refs.at(uint32(id)).typeRef }
