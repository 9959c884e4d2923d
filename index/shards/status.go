package shards

import "time"

// State is where a watch on a shard, or a shard as a whole, stands.
type State string

// States.
const (
	// Waiting: not started, as for a Shard object without a usable address.
	Waiting State = "waiting"
	// Syncing: the first list is under way.
	Syncing State = "syncing"
	// Synced: listed, and the watch is open.
	Synced State = "synced"
	// Failed: the last list or watch failed; the next try is under way. What was
	// read before stays served.
	Failed State = "failed"
)

// Status is a picture of everything a Watcher follows.
type Status struct {
	// Root is the watch of Shard objects. RootAnswered says that it was listed
	// once.
	Root         ResourceWatchStatus
	RootAnswered bool
	// Shards are sorted by name.
	Shards []ShardStatus
}

// ShardStatus is one listed shard.
type ShardStatus struct {
	Name string
	// State is Failed when a watch fails or the address is unusable, else the
	// least advanced state of its watches.
	State State
	// Synced says that every watch has been listed once.
	Synced bool
	// Since is when State began.
	Since time.Time
	// Reason says what is wrong with the Shard object; for operators.
	Reason  string
	Watches []ResourceWatchStatus
}

// ResourceWatchStatus is one watch on one shard.
type ResourceWatchStatus struct {
	// Resource is "resource.group".
	Resource string
	State    State
	// Since is when State began.
	Since time.Time
	// Synced says that it has been listed once.
	Synced bool
	// Objects is how many the last list had; what the watch changed since is
	// not counted.
	Objects int
	// Error is the last failure, kept after recovery, and ErrorAt its time. It
	// may hold addresses: for operators, never for an unauthenticated answer.
	Error   string
	ErrorAt time.Time
}

// Metrics is told what happens. Labels are shard names and "resource.group";
// the shard is empty for the watch of Shard objects in root.
type Metrics interface {
	// ResourceWatchState: the watch has entered a state.
	ResourceWatchState(shard, resource string, s State)
	// Listed: a list was completed, with so many objects.
	Listed(shard, resource string, objects int)
	// ResourceWatchFailed: a list or watch failed. Why is "expired", "not found",
	// "refused", "answer" (any other) or "connection".
	ResourceWatchFailed(shard, resource, why string)
	// Skipped: an object could not be decoded.
	Skipped(shard, resource string)
	// Forget: the shard is gone.
	Forget(shard string)
}

// noMetrics is what a nil Metrics means.
type noMetrics struct{}

func (noMetrics) ResourceWatchState(string, string, State)   {}
func (noMetrics) Listed(string, string, int)                 {}
func (noMetrics) ResourceWatchFailed(string, string, string) {}
func (noMetrics) Skipped(string, string)                     {}
func (noMetrics) Forget(string)                              {}

// summarize sums up a shard's watches.
func summarize(s *ShardStatus, unusable time.Time) {
	rank := map[State]int{Failed: 0, Waiting: 1, Syncing: 2, Synced: 3}
	s.State, s.Synced = Synced, len(s.Watches) > 0
	for _, f := range s.Watches {
		s.Synced = s.Synced && f.Synced
		switch {
		case rank[f.State] < rank[s.State]:
			s.State, s.Since = f.State, f.Since
		case f.State == s.State && s.State == Synced && f.Since.After(s.Since):
			s.Since = f.Since
		case f.State == s.State && s.State != Synced && f.Since.Before(s.Since):
			s.Since = f.Since
		}
	}
	if s.Reason != "" && len(s.Watches) == 0 {
		s.State, s.Since = Failed, unusable
	}
}
