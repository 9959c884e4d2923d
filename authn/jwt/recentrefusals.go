package jwt

import (
	"errors"
	"sync"
	"time"

	"frontproxy/authn/token"
)

const (
	// recentSlot and recentSlots are the resolution and the length of what is counted:
	// an hour, to within five minutes.
	recentSlot  = 5 * time.Minute
	recentSlots = 12
)

// Undecided counts tokens that were not refused, but could not be judged: an issuer that
// does not answer, too little time.
const Undecided token.Reason = "undecided"

// recentRefusals counts an Authenticator's refusals by reason. The zero value has none, and
// takes no memory until there is one. Safe for concurrent use.
type recentRefusals struct {
	mu    sync.Mutex
	slots *[recentSlots]recentSlotCounts
}

// recentSlotCounts has what was refused in the recentSlot that begins at began.
type recentSlotCounts struct {
	began  time.Time
	counts map[token.Reason]int
}

// add counts err, if it is one, at the time now.
func (r *recentRefusals) add(err error, now time.Time) {
	if err == nil {
		return
	}
	reason := ReasonOf(err)
	if errors.Is(err, token.ErrUndecided) {
		reason = Undecided
	}
	began := now.Truncate(recentSlot)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = &[recentSlots]recentSlotCounts{}
	}
	s := &r.slots[began.Unix()/int64(recentSlot/time.Second)%recentSlots]
	if !s.began.Equal(began) {
		*s = recentSlotCounts{began: began, counts: map[token.Reason]int{}}
	}
	s.counts[reason]++
}

// counts are those of the hour before now, by reason. Nil: there were none.
func (r *recentRefusals) counts(now time.Time) map[token.Reason]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		return nil
	}
	var all map[token.Reason]int
	oldest := now.Truncate(recentSlot).Add(-(recentSlots - 1) * recentSlot)
	for _, s := range r.slots {
		if s.began.Before(oldest) || s.began.After(now) {
			continue
		}
		for reason, n := range s.counts {
			if all == nil {
				all = map[token.Reason]int{}
			}
			all[reason] += n
		}
	}
	return all
}
