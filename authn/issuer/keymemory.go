package issuer

// Bounds on the memory of key sets in use, in bytes.
const (
	// smallKeySet is what the key set of each issuer may take in any case: about a dozen usual keys.
	smallKeySet = 16 << 10
	// largeKeySets is what all may take beyond that, together.
	largeKeySets = 64 << 20
)

// ledger says who is charged for what key sets take beyond smallKeySet.
type ledger struct {
	all      int // bytes
	ofOwners map[string]int
}

// keep charges one of i's owners for a key set of size bytes in place of the one before. An owner may
// have as much as it leaves free, so that there is room for others, however many keys its issuers
// publish. A set that takes no more than the one before always has room: keys may have been withdrawn.
// False: none of i's owners has room, and what i has stays charged.
func (p *Pool) keep(i *Issuer, size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	more := max(size-smallKeySet, 0)
	l, payer, before := &p.large, i.use.payer, i.use.charged
	if more <= before {
		l.charge(i, payer, more)
		return true
	}
	l.charge(i, payer, 0)
	for owner := range i.use.owners {
		if l.ofOwners[owner]+more <= largeKeySets-l.all-more {
			l.charge(i, owner, more)
			return true
		}
	}
	l.charge(i, payer, before)
	return false
}

// charge makes owner pay bytes for i; whoever paid for i before no longer does.
func (l *ledger) charge(i *Issuer, owner string, bytes int) {
	l.all += bytes - i.use.charged
	if l.ofOwners[i.use.payer] -= i.use.charged; l.ofOwners[i.use.payer] == 0 {
		delete(l.ofOwners, i.use.payer)
	}
	i.use.payer, i.use.charged = owner, bytes
	if bytes > 0 {
		l.ofOwners[owner] += bytes
	}
}

// left is called when owner does not use i any more: another has to pay, even if it has no room.
func (l *ledger) left(i *Issuer, owner string) {
	if i.use.payer != owner {
		return
	}
	for other := range i.use.owners {
		l.charge(i, other, i.use.charged)
		return
	}
	l.charge(i, "", 0)
}
