package expression

import (
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// price returns what a call may take at most: steps, and bytes including its result.
// Computing it takes constant time.
type price func(args []ref.Val) (steps, bytes int64)

// allowed has the price of each function and operator that expressions may call and that
// cel-go or apiserver implements, with all overloads of its name. Functions with a node of
// their own are in plan.go. An expression that calls any other function is refused.
var allowed = map[string]price{
	// These take one instruction, or a comparison that ends with the shorter operand.
	"!_": constantPrice, "-_": constantPrice, "_-_": constantPrice, "_*_": constantPrice, "_/_": constantPrice, "_%_": constantPrice,
	"_<_": walk, "_<=_": walk, "_>_": walk, "_>=_": walk,
	"_+_": concatenate,
	"@in": member, "in": member, "_in_": member,
	"size": walk, "type": constantPrice, "dyn": constantPrice,

	// These read their argument once and copy it a few times.
	"bool": copies, "bytes": copies, "double": copies, "duration": copies, "int": copies, "string": copies, "timestamp": copies, "uint": copies,
	"charAt": copies, "lowerAscii": copies, "upperAscii": copies, "substring": copies, "trim": copies, "strings.quote": copies,
	"startsWith": walk, "endsWith": walk,
	"isIP": copies, "isCIDR": copies, "ip": copies, "cidr": copies, "ip.isCanonical": copies,
	"containsIP": copies, "containsCIDR": copies, "family": copies, "masked": copies, "prefixLength": copies,
	"isUnspecified": copies, "isLoopback": copies, "isLinkLocalMulticast": copies, "isLinkLocalUnicast": copies, "isGlobalUnicast": copies,

	// These look for one argument in the other.
	"contains": search, "indexOf": search, "lastIndexOf": search,
	"split": split, "replace": replace, "join": joined,

	// If these get the name of a time zone, they read a file.
	"getDate": clock, "getDayOfMonth": clock, "getDayOfWeek": clock, "getDayOfYear": clock, "getFullYear": clock, "getHours": clock,
	"getMilliseconds": clock, "getMinutes": clock, "getMonth": clock, "getSeconds": clock,

	// Lists.
	"isSorted": copies, "min": copies, "max": copies, "sum": copies,
	"first": constantPrice, "last": constantPrice,
	"reverse": elements, "slice": elements, "flatten": elements,
	"sort": sorting, "@sortByAssociatedKeys": sorting,
	"distinct": pairs, "sets.contains": pairs, "sets.equivalent": pairs, "sets.intersects": pairs,
	"lists.range": rangePrice,

	// Optionals.
	"optional.of": constantPrice, "optional.none": constantPrice, "optional.ofNonZeroValue": constantPrice,
	"optional.unwrap": elements, "unwrapOpt": elements, "hasValue": constantPrice, "value": constantPrice,
}

// times returns the product of two numbers that are not negative, or heavy if that is less.
func times(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	if a > heavy/b {
		return heavy
	}
	return a * b
}

func total(args []ref.Val) (w weight) {
	for _, arg := range args {
		w = w.plus(weightOf(arg))
	}
	return w
}

func constantPrice([]ref.Val) (int64, int64) { return 4, scalarBytes }

// walk is the price of a function that reads its arguments and creates nothing.
func walk(args []ref.Val) (int64, int64) { return 4 + total(args).steps(), scalarBytes }

// copies is the price of a function that reads its arguments a few times and creates a few
// strings of their length.
func copies(args []ref.Val) (int64, int64) {
	w := total(args)
	return 16 + times(w.steps(), 8), 256 + times(w.bytes, 16) + times(w.nodes, scalarBytes)
}

// concatenate is the price of + for strings and bytes; lists have a node of their own.
func concatenate(args []ref.Val) (int64, int64) {
	w := total(args)
	return 4 + w.bytes/16, scalarBytes + w.bytes + 16
}

// member is the price of comparing a value with each element of a list, or of looking it up
// in a map.
func member(args []ref.Val) (int64, int64) {
	one, all := weightOf(args[0]), weightOf(args[1])
	l, ok := args[1].(*list)
	if !ok {
		return 4 + one.steps(), scalarBytes + one.bytes
	}
	n := int64(len(l.elems))
	return 4 + n + 2*min(times(n, one.steps()), all.steps()), scalarBytes
}

// search is the price of a search that may compare at each position and copies both texts
// into runes. In a list, it compares with each element.
func search(args []ref.Val) (int64, int64) {
	if _, ok := args[0].(*list); ok {
		steps, bytes := member([]ref.Val{args[1], args[0]})
		return steps, bytes + times(weightOf(args[0]).nodes, scalarBytes)
	}
	w := total(args)
	return 8 + w.bytes/4 + times(weightOf(args[0]).bytes, weightOf(args[1]).bytes)/16, scalarBytes + times(w.bytes, 4)
}

// split creates at most one string for each byte, or as many as its argument says.
func split(args []ref.Val) (int64, int64) {
	steps, _ := search(args)
	n := weightOf(args[0]).bytes + 1
	if len(args) == 3 {
		if limit, ok := args[2].(types.Int); ok && limit >= 0 {
			n = min(n, int64(limit))
		}
	} else if sep, ok := args[1].(types.String); ok && sep != "" {
		n = n/int64(len(sep)) + 1
	}
	return steps + n, listBytes + n*slotBytes*4
}

// replace inserts the third argument at most once before each byte and at the end, or in
// place of each occurrence of the second.
func replace(args []ref.Val) (int64, int64) {
	steps, _ := search(args)
	if len(args) < 3 {
		return steps, scalarBytes
	}
	n := weightOf(args[0]).bytes
	places := n/max(1, weightOf(args[1]).bytes) + 1
	if len(args) == 4 {
		if limit, ok := args[3].(types.Int); ok && limit >= 0 {
			places = min(places, int64(limit))
		}
	}
	size := n + times(places, weightOf(args[2]).bytes)
	return steps + size/16, scalarBytes + size + 64
}

// joined is the price of a string of a list's elements, with separators, in a buffer that grows.
func joined(args []ref.Val) (int64, int64) {
	l, size := weightOf(args[0]), total(args).bytes
	if len(args) == 2 {
		size += times(l.nodes, weightOf(args[1]).bytes)
	}
	return 8 + times(l.nodes, 4) + size/4, 256 + times(size, 8) + times(l.nodes, 2*scalarBytes)
}

// clock is the price of reading a field of a time or a duration.
func clock(args []ref.Val) (int64, int64) {
	if len(args) == 1 {
		return 32, 128
	}
	return 10_000 + total(args).bytes, 64<<10 + times(total(args).bytes, 16)
}

// elements is the price of a list of the arguments' parts, whose buffer grows.
func elements(args []ref.Val) (int64, int64) {
	w := total(args)
	return 8 + times(w.nodes, 4), listBytes + times(w.nodes, 8*slotBytes) + times(times(w.nodes, w.depth), 4*slotBytes)
}

// sorting is the price of lists of the arguments' length and of n log n comparisons.
func sorting(args []ref.Val) (int64, int64) {
	w := total(args)
	n, log := w.nodes, int64(2)
	for ; n > 1; n /= 2 {
		log += 2
	}
	return 8 + times(times(w.steps(), log), 2), listBytes + times(w.nodes, 10*slotBytes)
}

// pairs is the price of comparing each element with each other one (at most twice for two
// lists) and of a list of some of them.
func pairs(args []ref.Val) (int64, int64) {
	first, last := args[0], args[len(args)-1]
	w := min(times(length(first), weightOf(last).steps()), times(length(last), weightOf(first).steps()))
	n := length(first) + length(last)
	if len(args) == 1 {
		return 8 + n + w/2, listBytes + times(n, 4*slotBytes)
	}
	return 8 + n + times(w, 2), 2*listBytes + times(n, 4*slotBytes)
}

func length(v ref.Val) int64 {
	if l, ok := v.(*list); ok {
		return int64(len(l.elems))
	}
	return 1
}

// rangePrice is the price of a list with as many elements as the argument says.
func rangePrice(args []ref.Val) (int64, int64) {
	n, _ := args[0].(types.Int)
	size := min(max(0, int64(n)), heavy)
	return 8 + size, listBytes + times(size, 6*slotBytes)
}

// dispatch makes the call as cel-go's interpreter does.
func (n *call) dispatch(args []ref.Val) ref.Val {
	if f := n.impl; f != nil && (len(args) == 0 || f.OperandTrait == 0 || args[0].Type().HasTrait(f.OperandTrait)) {
		switch {
		case len(args) == 1 && f.Unary != nil:
			return f.Unary(args[0])
		case len(args) == 2 && f.Binary != nil:
			return f.Binary(args[0], args[1])
		case f.Function != nil:
			return f.Function(args...)
		}
	}
	if len(args) > 0 {
		if r, ok := args[0].(traits.Receiver); ok && args[0].Type().HasTrait(traits.ReceiverType) {
			return r.Receive(n.name, n.overload, args[1:])
		}
	}
	return types.NewErr("no such overload: %s", n.name)
}
