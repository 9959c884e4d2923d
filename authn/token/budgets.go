package token

import (
	"sync"

	"frontproxy/internal/bytecache"
)

// Budgets bounds the caches of all configurations of each owner, and of all owners.
type Budgets struct {
	total *bytecache.Total
	most  int // bytes for each owner

	mu     sync.Mutex // guards owners
	owners map[string]*ownersBudget
}

type ownersBudget struct {
	budget *bytecache.Budget
	users  int // configurations
}

// NewBudgets bounds caches of tokens. It has no owners yet.
func NewBudgets() *Budgets { return NewBudgetsOf(allCacheBytes, ownersCacheBytes, cacheFloor) }

// NewBudgetsOf bounds other caches: all of them together by all, and those of each owner by owners,
// in bytes. Once all is used up, each owner still has floor.
func NewBudgetsOf(all, owners, floor int) *Budgets {
	return &Budgets{total: bytecache.NewTotal(all, floor), most: owners, owners: map[string]*ownersBudget{}}
}

// Used returns the bytes in use by all owners.
func (o *Budgets) Used() int { return o.total.Used() }

// Acquire returns the budget of an owner. The caller calls release once it no longer uses it.
func (o *Budgets) Acquire(owner string) (budget *bytecache.Budget, release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.owners[owner]
	if c == nil {
		c = &ownersBudget{budget: o.total.Budget(o.most)}
		o.owners[owner] = c
	}
	c.users++
	return c.budget, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(o.owners, owner)
		}
	}
}
