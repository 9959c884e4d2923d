package expression

import (
	"math"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// What a container takes in addition to its elements.
const (
	listBytes   = 256
	mapBytes    = 640
	slotBytes   = 16  // an element of a list
	entryBytes  = 224 // an entry of a map, as it grows
	scalarBytes = 32  // a string's or a number's header
)

// weight is the total size of a value. A part that occurs twice counts twice, because
// traversing the value visits it twice.
type weight struct {
	nodes, bytes int64 // saturating
	depth        int64
}

// heavy is more than any budget.
const heavy = math.MaxInt64 / 1024

func (w weight) plus(v weight) weight {
	return weight{min(w.nodes+v.nodes, heavy), min(w.bytes+v.bytes, heavy), max(w.depth, v.depth)}
}

// steps returns the steps of traversing the value.
func (w weight) steps() int64 { return w.nodes + w.bytes/16 }

// weightOf takes constant time.
func weightOf(v ref.Val) weight {
	switch v := v.(type) {
	case types.String:
		return weight{1, int64(len(v)), 0}
	case types.Bytes:
		return weight{1, int64(len(v)), 0}
	case *list:
		return weight{v.deep.nodes + 1, v.deep.bytes, v.deep.depth + 1}
	case *mapping:
		return weight{v.deep.nodes + 1, v.deep.bytes, v.deep.depth + 1}
	case *types.Optional:
		if v.HasValue() { // nested as deep as the expression at most
			w := weightOf(v.GetValue())
			return weight{w.nodes + 1, w.bytes, w.depth + 1}
		}
	}
	return weight{1, 0, 0}
}

// list has all its elements: it is not a view of other lists. It is immutable once
// its fold has ended.
type list struct {
	traits.Lister // over elems
	elems         []ref.Val
	deep          weight // of the elements together
	claim         bool   // it is a claim or a part of one
}

// freeze makes the elements that were added visible to functions.
func (l *list) freeze() { l.Lister = types.NewRefValList(types.DefaultTypeAdapter, l.elems) }

// Equal implements ref.Val as cel-go does, but allocates nothing.
func (l *list) Equal(other ref.Val) ref.Val {
	o, ok := other.(*list)
	if !ok || len(l.elems) != len(o.elems) {
		return types.False
	}
	for i, elem := range l.elems {
		if types.Equal(elem, o.elems[i]) != types.True {
			return types.False
		}
	}
	return types.True
}

// IsZeroValue implements traits.Zeroer. apiserver's claims do not.
func (l *list) IsZeroValue() bool { return !l.claim && len(l.elems) == 0 }

// String keeps whatever prints a value from walking through it.
func (l *list) String() string { return "list" }

// escape is a part of every escaped name.
const escape = "__"

// mapping is the same as list for maps. In claims, a key is looked up by its name as
// Kubernetes escapes it (foo__dot__bar) or as it is.
type mapping struct {
	traits.Mapper // over entries
	entries       map[ref.Val]ref.Val
	deep          weight
	claim         bool
}

func (m *mapping) freeze() { m.Mapper = types.NewRefValMap(types.DefaultTypeAdapter, m.entries) }

func (m *mapping) Find(key ref.Val) (ref.Val, bool) {
	if name, ok := key.(types.String); ok && m.claim && strings.Contains(string(name), escape) {
		if plain, ok := cel.Unescape(string(name)); ok {
			key = types.String(plain)
		}
	}
	return m.Mapper.Find(key)
}

// Equal implements ref.Val as cel-go does, but allocates nothing: cel-go's
// iterator and look-ups copy each key. All claims together are compared with
// nothing, as apiserver has it the other way round: they have no size.
func (m *mapping) Equal(other ref.Val) ref.Val {
	if _, ok := other.(*lazy.MapValue); ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	o, ok := other.(*mapping)
	if !ok || len(m.entries) != len(o.entries) {
		return types.False
	}
	for key, value := range m.entries {
		found, ok := o.entries[key]
		if !ok {
			found, ok = o.sameNumber(key)
		}
		if !ok || types.Equal(value, found) != types.True {
			return types.False
		}
	}
	return types.True
}

// sameNumber looks for a key of the other type of whole numbers. No key is a
// fraction.
func (m *mapping) sameNumber(key ref.Val) (value ref.Val, ok bool) {
	switch key := key.(type) {
	case types.Int:
		if key >= 0 {
			value, ok = m.entries[types.Uint(key)]
		}
	case types.Uint:
		if key <= math.MaxInt64 {
			value, ok = m.entries[types.Int(key)] //nolint:gosec // looked at just before
		}
	}
	return value, ok
}

// IsZeroValue implements traits.Zeroer. apiserver's claims do not.
func (m *mapping) IsZeroValue() bool { return !m.claim && len(m.entries) == 0 }

// String keeps whatever prints a value from walking through it.
func (m *mapping) String() string { return "map" }

// own returns a fully built copy of a value that may be a lazy view: a claim, or the result of
// a function.
func (e *evaluation) own(v ref.Val, claim bool) ref.Val {
	switch v := v.(type) {
	case *list, *mapping, *lazy.MapValue:
		return v
	case traits.Mapper:
		return e.ownMap(v, claim)
	case traits.Lister:
		return e.ownList(v, claim)
	}
	return v
}

func (e *evaluation) ownList(l traits.Lister, claim bool) ref.Val {
	n := int64(l.Size().(types.Int))
	e.charge(1+n, listBytes+n*(slotBytes+scalarBytes))
	out := &list{elems: make([]ref.Val, 0, n), claim: claim}
	for it := l.Iterator(); it.HasNext() == types.True; {
		elem := e.own(it.Next(), claim)
		out.elems = append(out.elems, elem)
		out.deep = out.deep.plus(weightOf(elem))
	}
	out.freeze()
	return out
}

func (e *evaluation) ownMap(m traits.Mapper, claim bool) ref.Val {
	n := int64(m.Size().(types.Int))
	e.charge(1+2*n, mapBytes+n*(entryBytes+4*scalarBytes))
	out := &mapping{entries: make(map[ref.Val]ref.Val, n), claim: claim}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		value := e.own(m.Get(key), claim)
		out.entries[key] = value
		out.deep = out.deep.plus(weightOf(key)).plus(weightOf(value))
	}
	out.freeze()
	return out
}

// result returns the result of an evaluation, or an error if it is too large or of a type that
// no expression may have.
func (e *evaluation) result(v ref.Val) (ref.Val, error) {
	switch v := v.(type) {
	case types.Bool, types.Int, types.Uint, types.Double, types.Null:
		return v, nil
	case types.String:
		if len(v) > MaxResultBytes {
			return nil, errResult
		}
		return v, nil
	case *list:
		size := 0
		for _, elem := range v.elems {
			s, ok := elem.(types.String)
			if !ok {
				return nil, errResultType
			}
			if size += len(s) + 1; size > MaxResultBytes {
				return nil, errResult
			}
		}
		e.charge(1, listBytes)
		return types.NewRefValList(types.DefaultTypeAdapter, v.elems), nil
	}
	return nil, errResultType
}
