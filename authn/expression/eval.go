package expression

import (
	"context"
	"strings"

	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// evaluation is one run of one expression.
type evaluation struct {
	ctx    context.Context //nolint:containedctx // it is the evaluation's, and ends with it
	budget *Budget
	input  ref.Val   // claims or user
	vars   []ref.Val // of macros
}

// node is a part of an expression. As in cel-go, an error is a value, which some operators
// absorb. The end of the budget is not such a value: it ends the evaluation.
type node interface {
	eval(e *evaluation) ref.Val
}

// fail returns an error value and charges for it. Formats must not print containers.
func (e *evaluation) fail(format string, args ...any) ref.Val {
	e.charge(8, errorBytes)
	return types.NewErr(format, args...)
}

// noOverload returns v if that is an error, else the error for an operand of the wrong type.
func (e *evaluation) noOverload(v ref.Val) ref.Val {
	if types.IsError(v) {
		return v
	}
	return e.fail("no such overload")
}

type constant struct{ v ref.Val }

func (n constant) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	return n.v
}

// variable is claims or user.
type variable struct{}

func (variable) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	return e.input
}

// local is a macro's variable.
type local struct{ slot int }

func (n local) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	return e.vars[n.slot]
}

// selection is a field or an index of a value: v.f, v[i], v.?f, v[?i], has(v.f).
type selection struct {
	operand, key node
	optional     bool
	test         bool
}

func (n *selection) eval(e *evaluation) ref.Val {
	v := n.operand.eval(e)
	if types.IsError(v) {
		return v
	}
	key := n.key.eval(e)
	if types.IsError(key) {
		return key
	}
	lifted := n.optional
	if o, ok := v.(*types.Optional); ok {
		if !o.HasValue() {
			return n.absent(o)
		}
		v, lifted = o.GetValue(), true
	}
	found, err := e.find(v, key, lifted || n.test)
	switch {
	case err != nil:
		return err
	case found == nil:
		return n.absent(types.OptionalNone)
	case n.test:
		return types.True
	case lifted:
		e.charge(1, scalarBytes)
		return types.OptionalOf(found)
	}
	return found
}

func (n *selection) absent(none ref.Val) ref.Val {
	if n.test {
		return types.False
	}
	return none
}

// find looks up a field or an element. If there is none it returns an error, or nothing at
// all if the part is optional.
func (e *evaluation) find(v, key ref.Val, optional bool) (found, err ref.Val) {
	e.charge(1+weightOf(key).steps(), scalarBytes+2*weightOf(key).bytes)
	switch v := v.(type) {
	case *types.Err:
		return nil, v
	case *lazy.MapValue:
		return e.findClaim(v, key, optional)
	case *mapping:
		if name, ok := key.(types.String); ok && v.claim && strings.Contains(string(name), escape) {
			e.charge(16+int64(len(name))/2, 4*int64(len(name)))
		}
		switch key.(type) {
		case types.String, types.Int, types.Uint, types.Double, types.Bool:
			if found, ok := v.Find(key); ok {
				return found, nil
			}
		default:
			return nil, e.fail("unsupported key type: %v", key.Type())
		}
	case *list:
		i, err := types.IndexOrError(key)
		if err != nil {
			return nil, e.fail("%v", err)
		}
		if i >= 0 && i < len(v.elems) {
			return v.elems[i], nil
		}
		if !optional {
			return nil, e.fail("index out of bounds: %d", i)
		}
	}
	if optional {
		return nil, nil
	}
	return nil, e.noKey(key)
}

func (e *evaluation) noKey(key ref.Val) ref.Val {
	if name, ok := key.(types.String); ok {
		return e.fail("no such key: %.100s", string(name))
	}
	return e.fail("no such key")
}

// findClaim decodes and weighs a claim once for all expressions of a token. NewBudget has
// charged most of the decoding already.
func (e *evaluation) findClaim(m *lazy.MapValue, key ref.Val, optional bool) (found, err ref.Val) {
	name, ok := key.(types.String)
	if !ok {
		return nil, e.noOverload(key)
	}
	id := claimKey{m, name}
	v, known := e.budget.claims[id]
	if !known {
		// A regular expression looks for escapes in the name.
		e.charge(16+int64(len(name))/2, claimBytes+entryBytes+4*int64(len(name)))
		if v, ok = m.Find(name); ok && types.IsError(v) {
			return nil, v
		}
		if !ok {
			v = nil
		}
		v = e.own(v, true)
		e.budget.claims[id] = v
	}
	switch {
	case v != nil:
		return v, nil
	case optional:
		return nil, nil
	}
	return nil, e.noKey(name)
}

// logical is && or ||: if one side decides, an error of the other side does not matter.
type logical struct {
	left, right node
	decides     types.Bool
}

func (n *logical) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	left := n.left.eval(e)
	if left == ref.Val(n.decides) {
		return n.decides
	}
	right := n.right.eval(e)
	if right == ref.Val(n.decides) {
		return n.decides
	}
	for _, v := range []ref.Val{left, right} {
		if _, ok := v.(types.Bool); !ok {
			return e.noOverload(v)
		}
	}
	return !n.decides
}

// conditional is c ? a : b.
type conditional struct{ condition, yes, no node }

func (n *conditional) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	switch c := n.condition.eval(e); c {
	case types.True:
		return n.yes.eval(e)
	case types.False:
		return n.no.eval(e)
	default:
		return e.noOverload(c)
	}
}

// equality is == or !=.
type equality struct {
	left, right node
	not         bool
}

func (n *equality) eval(e *evaluation) ref.Val {
	left, right := n.left.eval(e), n.right.eval(e)
	if types.IsError(left) {
		return left
	}
	if types.IsError(right) {
		return right
	}
	e.charge(1+2*min(weightOf(left).steps(), weightOf(right).steps()), 0) // it ends with the smaller one
	equal := types.Equal(left, right)
	if b, ok := equal.(types.Bool); ok && n.not {
		return !b
	}
	return equal
}

// notFalse lets a macro continue after an error in its condition.
type notFalse struct{ arg node }

func (n notFalse) eval(e *evaluation) ref.Val {
	return types.Bool(n.arg.eval(e) != types.False)
}

// listing is [a, ?b].
type listing struct {
	elems    []node
	optional []bool
}

func (n *listing) eval(e *evaluation) ref.Val {
	e.charge(1+int64(len(n.elems)), listBytes+slotBytes*int64(len(n.elems)))
	l := &list{elems: make([]ref.Val, 0, len(n.elems))}
	if err := n.appendTo(e, l); err != nil {
		return err
	}
	l.freeze()
	return l
}

func (n *listing) appendTo(e *evaluation, l *list) (err ref.Val) {
	for i, elem := range n.elems {
		v := elem.eval(e)
		if types.IsError(v) {
			return v
		}
		if n.optional[i] {
			o, ok := v.(*types.Optional)
			if !ok {
				return e.fail("cannot initialize optional list element from non-optional value")
			}
			if !o.HasValue() {
				continue
			}
			v = o.GetValue()
		}
		e.add(l, v)
	}
	return nil
}

// add appends in place to a list that nothing else refers to yet.
func (e *evaluation) add(l *list, v ref.Val) {
	e.charge(1, 0)
	if n := len(l.elems); n == cap(l.elems) {
		e.charge(int64(n), (2*int64(n)+8)*slotBytes)
		grown := make([]ref.Val, n, 2*n+8)
		copy(grown, l.elems)
		l.elems = grown
	}
	l.elems = append(l.elems, v)
	l.deep = l.deep.plus(weightOf(v))
}

// mapLiteral is {a: b, ?c: d}.
type mapLiteral struct {
	keys, values []node
	optional     []bool
}

func (n *mapLiteral) eval(e *evaluation) ref.Val {
	e.charge(1+int64(len(n.keys)), mapBytes+entryBytes*int64(len(n.keys)))
	m := &mapping{entries: make(map[ref.Val]ref.Val, len(n.keys))}
	for i := range n.keys {
		key := n.keys[i].eval(e)
		if types.IsError(key) {
			return key
		}
		value := n.values[i].eval(e)
		if types.IsError(value) {
			return value
		}
		if n.optional[i] {
			o, ok := value.(*types.Optional)
			if !ok {
				return e.fail("cannot initialize optional entry from non-optional value")
			}
			if !o.HasValue() {
				delete(m.entries, key)
				continue
			}
			value = o.GetValue()
		}
		if err := e.put(m, key, value); err != nil {
			return err
		}
	}
	m.freeze()
	return m
}

// put sets an entry in place, in a map that nothing else refers to yet. An entry that it
// replaces still counts in the map's weight.
func (e *evaluation) put(m *mapping, key, value ref.Val) (err ref.Val) {
	e.charge(1+weightOf(key).steps(), entryBytes)
	switch key.(type) {
	case types.String, types.Int, types.Uint, types.Bool:
	default:
		return e.fail("unsupported key type")
	}
	m.entries[key] = value
	m.deep = m.deep.plus(weightOf(key)).plus(weightOf(value))
	return nil
}

// insert is like put, but fails if the key exists.
func (e *evaluation) insert(m *mapping, key, value ref.Val) (err ref.Val) {
	before := len(m.entries)
	if err := e.put(m, key, value); err != nil {
		return err
	}
	if len(m.entries) == before {
		return e.fail("insert failed: the key exists already")
	}
	return nil
}

// sum is a + b.
type sum struct{ plus *call }

func (n sum) eval(e *evaluation) ref.Val {
	left, right := n.plus.args[0].eval(e), n.plus.args[1].eval(e)
	a, ok := left.(*list)
	if !ok {
		return n.plus.apply(e, []ref.Val{left, right})
	}
	b, ok := right.(*list)
	if !ok {
		return e.noOverload(right)
	}
	size := len(a.elems) + len(b.elems)
	e.charge(1+int64(size)/4, listBytes+slotBytes*int64(size))
	both := &list{elems: append(append(make([]ref.Val, 0, size), a.elems...), b.elems...), deep: a.deep.plus(b.deep)}
	both.freeze()
	return both
}

// growing is the step of a macro that creates a list: it appends [x] in place to the
// accumulator, which only macros can name.
type growing struct {
	slot int
	elem *listing
}

func (n growing) eval(e *evaluation) ref.Val {
	l, ok := e.vars[n.slot].(*list)
	if !ok {
		return e.noOverload(e.vars[n.slot])
	}
	if err := n.elem.appendTo(e, l); err != nil {
		return err
	}
	return l
}

// inserting is the same for maps: it inserts one entry, or all entries of a map.
type inserting struct {
	slot       int
	key, value node // without value, key is a map
}

func (n *inserting) eval(e *evaluation) ref.Val {
	m, ok := e.vars[n.slot].(*mapping)
	if !ok {
		return e.noOverload(e.vars[n.slot])
	}
	key := n.key.eval(e)
	if types.IsError(key) {
		return key
	}
	if n.value != nil {
		value := n.value.eval(e)
		if types.IsError(value) {
			return value
		}
		if err := e.insert(m, key, value); err != nil {
			return err
		}
		return m
	}
	other, ok := key.(*mapping)
	if !ok {
		return e.noOverload(key)
	}
	for k, v := range other.entries {
		if err := e.insert(m, k, v); err != nil {
			return err
		}
	}
	return m
}

// fold is a macro over a list or a map.
type fold struct {
	over, start, condition, step, result node
	grows                                bool // its accumulator is appended to in place
	accumulator, first, second           int  // variables; second is -1 without one
}

func (n *fold) eval(e *evaluation) ref.Val {
	e.charge(2, 0)
	over := n.over.eval(e)
	if types.IsError(over) {
		return over
	}
	e.vars[n.accumulator] = n.start.eval(e)
	if err := n.each(e, over); err != nil {
		return err
	}
	if n.grows {
		e.charge(1, listBytes)
		switch made := e.vars[n.accumulator].(type) {
		case *list:
			made.freeze()
		case *mapping:
			made.freeze()
		}
	}
	return n.result.eval(e)
}

func (n *fold) each(e *evaluation, over ref.Val) (err ref.Val) {
	switch over := over.(type) {
	case *list:
		for i, v := range over.elems {
			one := v
			if n.second >= 0 {
				e.charge(0, scalarBytes)
				one = types.Int(i)
			}
			if !n.once(e, one, v) {
				break
			}
		}
	case *mapping:
		for k, v := range over.entries {
			if !n.once(e, k, v) {
				break
			}
		}
	case *lazy.MapValue:
		return n.eachClaim(e, over)
	default:
		return e.fail("no such overload: a macro over neither a list nor a map")
	}
	return nil
}

// eachClaim iterates over the values of all claims, as apiserver's iterator does.
func (n *fold) eachClaim(e *evaluation, m *lazy.MapValue) (err ref.Val) {
	if n.second >= 0 {
		return e.fail("no such overload: a macro with two variables over all claims")
	}
	id := claimKey{m, ""}
	values, ok := e.budget.iterated[id]
	if !ok {
		for it := m.Iterator(); it.HasNext() == types.True; {
			e.charge(1, claimBytes+2*slotBytes)
			values = append(values, e.own(it.Next(), true))
		}
		e.charge(1, entryBytes)
		e.budget.iterated[id] = values
	}
	for _, v := range values {
		if !n.once(e, v, nil) {
			return nil
		}
	}
	return nil
}

// once runs one iteration and reports whether to continue.
func (n *fold) once(e *evaluation, first, second ref.Val) bool {
	e.charge(2, 0)
	e.vars[n.first] = first
	if n.second >= 0 {
		e.vars[n.second] = second
	}
	if n.condition.eval(e) == types.False {
		return false
	}
	e.vars[n.accumulator] = n.step.eval(e)
	return true
}

// call calls a function in the table allowed.
type call struct {
	name     string
	overload string
	args     []node
	price    price
	impl     *functions.Overload // nil: the first argument's own method
}

func (n *call) eval(e *evaluation) ref.Val {
	e.charge(0, slotBytes*int64(len(n.args)))
	args := make([]ref.Val, len(n.args))
	for i, arg := range n.args {
		args[i] = arg.eval(e)
	}
	return n.apply(e, args)
}

// apply charges for the call, then makes it.
func (n *call) apply(e *evaluation, args []ref.Val) ref.Val {
	for _, arg := range args {
		if types.IsError(arg) {
			return arg
		}
	}
	e.charge(n.price(args))
	v := e.own(n.dispatch(args), false)
	if types.IsError(v) {
		e.charge(8, errorBytes)
	}
	return v
}

// texts is the list of a join. cel-go's error would print an element that is not a string, which
// may be all claims.
type texts struct{ list node }

func (n texts) eval(e *evaluation) ref.Val {
	v := n.list.eval(e)
	if l, ok := v.(*list); ok {
		e.charge(int64(len(l.elems)), 0)
		for _, elem := range l.elems {
			if _, ok := elem.(types.String); !ok {
				return e.fail("join: a list element is not a string")
			}
		}
	}
	return v
}

// either is a.or(b) or a.orValue(b), which evaluate b only if a has no value.
type either struct {
	left, right node
	value       bool
}

func (n *either) eval(e *evaluation) ref.Val {
	e.charge(1, 0)
	left := n.left.eval(e)
	o, ok := left.(*types.Optional)
	switch {
	case !ok:
		return left
	case o.HasValue() && n.value:
		return o.GetValue()
	case o.HasValue():
		return o
	}
	return n.right.eval(e)
}

// match is matches(), find() or findAll() with a pattern that was compiled with
// the expression.
type match struct {
	text, limit node // limit is nil without one
	pattern     *pattern
	name        string
}

func (n *match) eval(e *evaluation) ref.Val {
	v := n.text.eval(e)
	text, ok := v.(types.String)
	if !ok {
		return e.noOverload(v)
	}
	limit := types.Int(-1)
	if n.limit != nil {
		v := n.limit.eval(e)
		if limit, ok = v.(types.Int); !ok {
			return e.noOverload(v)
		}
	}
	steps, bytes := n.pattern.price(int64(len(text)) + 1)
	if !e.budget.patterns[n.pattern] {
		e.charge(1, entryBytes+n.pattern.size*instructionBytes)
		e.budget.patterns[n.pattern] = true
	}
	// For a reader, package regexp keeps a state for each instruction; for a string, it may
	// keep each position to come back to.
	switch n.name {
	case "matches":
		e.charge(steps, readerBytes)
		return types.Bool(n.pattern.compiled.MatchReader(strings.NewReader(string(text))))
	case "find":
		e.charge(steps, 2*readerBytes)
		at := n.pattern.compiled.FindReaderIndex(strings.NewReader(string(text)))
		if at == nil {
			return types.String("")
		}
		return text[at[0]:at[1]]
	}
	// Matches do not overlap, but each may look ahead to the end.
	found := int64(len(text)) + 1
	if limit >= 0 {
		found = min(found, int64(limit))
	}
	e.charge(times(steps, found), bytes+listBytes+times(found, slotBytes*8))
	all := n.pattern.compiled.FindAllString(string(text), int(limit))
	out := &list{elems: make([]ref.Val, 0, len(all))}
	for _, s := range all {
		e.add(out, types.String(s))
	}
	out.freeze()
	return out
}
