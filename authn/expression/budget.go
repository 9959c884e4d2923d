package expression

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apiserver/pkg/cel/lazy"
)

const (
	// MaxSteps is what the expressions of one token may take together. A step is
	// some 10 to 50 ns: a node of an expression, sixteen bytes that are compared
	// or copied, four bytes that one instruction of a regular expression looks at.
	MaxSteps = 2_000_000
	// MaxBytes is what the expressions of one token may allocate together, what
	// they do not keep included, and the decoding of its claims.
	MaxBytes = 4 << 20
	// MaxResultBytes bounds a string or a list of strings that an expression
	// evaluates to, with one byte for each element of a list.
	MaxResultBytes = 64 << 10

	// decodingFactor is how many bytes a byte of JSON takes at most when claims
	// are decoded.
	decodingFactor = 96
	// claimBytes is what reading a claim takes in addition: its entry in apiserver's map and
	// a decoder, however small the claim is.
	claimBytes = 256
	// errorBytes is what the error of a function takes in addition to its arguments. Whether there
	// is one is known only after the call, so the budget always holds one back.
	errorBytes = 1 << 10
	// lookEvery is after how many steps an evaluation looks whether its context
	// has ended.
	lookEvery = 4096
)

// ErrBudget is wrapped by the error of an evaluation that would have taken more
// than its Budget. The same expressions and claims get the same answer.
var ErrBudget = errors.New("the expressions exceed the budget of one token")

// Budget is what the expressions of one token may still take. It is used by one
// goroutine at a time.
type Budget struct {
	steps, bytes int64
	look         int64
	used         bool
	claims       map[claimKey]ref.Val   // that were looked at; nil if they are not there
	iterated     map[claimKey][]ref.Val // without a name
	patterns     map[*pattern]bool      // that were used
}

// claimKey is a claim, or a field of the user that rules are about.
type claimKey struct {
	of   *lazy.MapValue
	name types.String
}

// NewBudget returns the budget of a token; claims is how many bytes its claims have.
func NewBudget(claims int) *Budget {
	return &Budget{
		steps:    MaxSteps - int64(claims),
		bytes:    MaxBytes - errorBytes - int64(claims)*decodingFactor,
		claims:   map[claimKey]ref.Val{},
		iterated: map[claimKey][]ref.Val{},
		patterns: map[*pattern]bool{},
	}
}

// Used reports whether an expression was evaluated.
func (b *Budget) Used() bool { return b.used }

type budgetKey struct{}

// WithBudget returns a context whose evaluations are charged to b. One without
// a budget gives each evaluation a new one.
func WithBudget(ctx context.Context, b *Budget) context.Context {
	return context.WithValue(ctx, budgetKey{}, b)
}

// stopped ends an evaluation from within. It is a panic, so that no operator that
// absorbs errors (||, &&, all, exists) can go on.
type stopped struct{ err error }

// charge takes the cost of the next step from the budget, or ends the evaluation if that is
// too little.
func (e *evaluation) charge(steps, bytes int64) {
	b := e.budget
	if steps > b.steps || steps < 0 {
		panic(stopped{fmt.Errorf("%w: more than %d steps", ErrBudget, int64(MaxSteps))})
	}
	if bytes > b.bytes || bytes < 0 {
		panic(stopped{fmt.Errorf("%w: more than %d bytes", ErrBudget, int64(MaxBytes))})
	}
	b.steps -= steps
	b.bytes -= bytes
	if b.look -= steps; b.look <= 0 {
		b.look = lookEvery
		if err := e.ctx.Err(); err != nil {
			panic(stopped{err})
		}
	}
}
