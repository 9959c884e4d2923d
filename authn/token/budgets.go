package token

import (
	"sync"

	"frontproxy/internal/bytecache"
)

// Budgets bounds the token caches of all configurations of each owner, and
// of all owners.
type Budgets struct {
	total *bytecache.Total

	mu     sync.Mutex // guards owners
	owners map[string]*ownersBudget
}

type ownersBudget struct {
	budget *bytecache.Budget
	users  int // configurations
}

// NewBudgets has no owners yet.
func NewBudgets() *Budgets {
	return &Budgets{total: bytecache.NewTotal(allCacheBytes, cacheFloor), owners: map[string]*ownersBudget{}}
}

// Acquire returns the budget of an owner. The caller calls release once it no longer uses it.
func (o *Budgets) Acquire(owner string) (budget *bytecache.Budget, release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.owners[owner]
	if c == nil {
		c = &ownersBudget{budget: o.total.Budget(ownersCacheBytes)}
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
