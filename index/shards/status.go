package shards

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is the state of a watch on a shard, or of a shard as a whole.
type State string

// States.
const (
	// Waiting: not started, as for a Shard object without a usable address.
	Waiting State = "waiting"
	// Syncing: the first list is in progress.
	Syncing State = "syncing"
	// Synced: listed, and the watch is open.
	Synced State = "synced"
	// Failed: the last list or watch failed, and the next try is in progress. What
	// was read before is still served.
	Failed State = "failed"
)

// Status is a snapshot of everything that a Watcher follows.
type Status struct {
	// Root is the watch of Shard objects.
	Root ResourceWatchStatus
	// Shards are sorted by name.
	Shards []ShardStatus
}

// ShardStatus is one listed shard.
type ShardStatus struct {
	Name string `json:"name"`
	// State is Failed if a watch fails or the address is unusable, else the least
	// advanced state of its watches.
	State State `json:"state"`
	// Synced reports whether every watch has been listed once.
	Synced bool `json:"synced"`
	// Since is when State began.
	Since metav1.Time `json:"since,omitzero"`
	// Reason says what is wrong with the Shard object; only for operators.
	Reason  string                `json:"reason,omitempty"`
	Watches []ResourceWatchStatus `json:"watches,omitempty"`
}

// ResourceWatchStatus is one watch on one shard.
type ResourceWatchStatus struct {
	// Resource is "resource.group".
	Resource string `json:"resource"`
	State    State  `json:"state"`
	// Since is when State began.
	Since metav1.Time `json:"since,omitzero"`
	// Synced reports whether the watch has been listed once.
	Synced bool `json:"-"`
	// Objects is the number of objects, by the last list and by what the watch has added
	// and deleted since.
	Objects int `json:"objects"`
	// Error is the last failure, kept after recovery; ErrorAt is its time. It may
	// contain addresses, so it is only for operators and never for an unauthenticated
	// response.
	Error   string      `json:"error,omitempty"`
	ErrorAt metav1.Time `json:"errorAt,omitzero"`
}

// Metrics receives events about the watches. Labels are shard names and
// "resource.group"; the shard is empty for the watch of Shard objects in root.
type Metrics interface {
	// ResourceWatchState: the watch has entered a state.
	ResourceWatchState(shard, resource string, s State)
	// Listed: a list was completed, with this number of objects.
	Listed(shard, resource string, objects int)
	// ResourceWatchFailed: a list or watch failed. reason, fit for a label, is "expired",
	// "not_found", "refused", "answer" (any other response) or "connection".
	ResourceWatchFailed(shard, resource, reason string)
	// Skipped: an object could not be decoded.
	Skipped(shard, resource string)
	// Forget: the shard was removed.
	Forget(shard string)
}

// summarize computes a shard's state from its watches.
func summarize(s *ShardStatus, unusable time.Time) {
	rank := map[State]int{Failed: 0, Waiting: 1, Syncing: 2, Synced: 3}
	s.State, s.Synced = Synced, len(s.Watches) > 0
	for _, f := range s.Watches {
		s.Synced = s.Synced && f.Synced
		switch {
		case rank[f.State] < rank[s.State]:
			s.State, s.Since = f.State, f.Since
		case f.State == s.State && s.State == Synced && f.Since.After(s.Since.Time):
			s.Since = f.Since
		case f.State == s.State && s.State != Synced && f.Since.Before(&s.Since):
			s.Since = f.Since
		}
	}
	if s.Reason != "" && len(s.Watches) == 0 {
		s.State, s.Since = Failed, metav1.NewTime(unusable)
	}
}

// failingSince returns since when a shard has not been responding: none of its watches is
// synced, and one fails, or its address is unusable. Zero: it responds, or nothing is known
// yet. A watch that fails while another is synced says nothing about the shard: the
// credentials may not read that resource, or the shard may lack it.
func failingSince(s *ShardStatus) (since time.Time) {
	if len(s.Watches) == 0 && s.State == Failed {
		return s.Since.Time
	}
	for _, w := range s.Watches {
		switch w.State {
		case Synced:
			return time.Time{}
		case Failed:
			if w.Since.After(since) {
				since = w.Since.Time
			}
		case Waiting, Syncing:
		}
	}
	return since
}
