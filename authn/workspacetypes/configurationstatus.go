package workspacetypes

import (
	"cmp"
	"slices"
)

// ShownState is the state of a configuration as operators see it: in fewer words
// than buildState, from which shownState makes it.
type ShownState string

// The states of a configuration.
const (
	// ShownReady: it serves as its spec says. Its issuers have a health
	// of their own, see issuer.Status.
	ShownReady ShownState = "Ready"
	// ShownPending: its present spec is not built yet.
	ShownPending ShownState = "Pending"
	// ShownBroken: its present spec can't be built.
	ShownBroken ShownState = "Broken"
	// ShownMissing: a type names it, but it does not exist.
	ShownMissing ShownState = "Missing"
	// ShownUnused: no type names it, so it is not built.
	ShownUnused ShownState = "Unused"
)

// ShownStates are all there are.
func ShownStates() []ShownState {
	return []ShownState{ShownReady, ShownPending, ShownBroken, ShownMissing, ShownUnused}
}

// ConfigurationStatus is what operators see of a
// WorkspaceAuthenticationConfiguration.
type ConfigurationStatus struct {
	Shard   string `json:"shard"`
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	// Version is the resourceVersion.
	Version string     `json:"version,omitempty"`
	State   ShownState `json:"state"`
	// Error says why it is Broken.
	Error string `json:"error,omitempty"`
	// Types are the names of the types, all in Cluster, that name it.
	Types []string `json:"types,omitempty"`
	// LoginError says why what the configuration's annotations say about logging in is not
	// published; empty when it is, or when they say nothing.
	LoginError string `json:"loginError,omitempty"`
}

// Status lists all configurations by shard, cluster and name.
func (i *Index) Status() []ConfigurationStatus {
	i.mu.RLock()
	var all []ConfigurationStatus
	for _, s := range i.shards {
		for _, c := range s.configs {
			all = append(all, c.status())
		}
	}
	i.mu.RUnlock()
	slices.SortFunc(all, func(a, b ConfigurationStatus) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Counts says how many configurations are in each state.
func (i *Index) Counts() map[ShownState]int {
	counts := map[ShownState]int{}
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, s := range i.shards {
		for _, c := range s.configs {
			counts[c.shownState()]++
		}
	}
	return counts
}

func (c *configEntry) status() ConfigurationStatus {
	s := ConfigurationStatus{Shard: c.shard, Cluster: c.name.cluster, Name: c.name.name, Version: c.object.version, State: c.shownState(), LoginError: c.loginError()}
	for e := range c.users {
		s.Types = append(s.Types, e.name.name)
	}
	slices.Sort(s.Types)
	if err := c.broken(); err != nil {
		s.Error = err.Error() + c.staleNote()
	}
	return s
}

// shownState is c's state as operators see it: in one word for all builds that failed
// or are tried again, and one for all that are to come.
func (c *configEntry) shownState() ShownState {
	switch {
	case c.state == stateMissing:
		return ShownMissing
	case c.broken() != nil:
		return ShownBroken
	case c.state == stateUnused:
		return ShownUnused
	case c.state == stateReady:
		return ShownReady
	}
	return ShownPending
}
