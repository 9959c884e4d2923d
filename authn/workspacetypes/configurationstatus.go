package workspacetypes

import (
	"cmp"
	"slices"
)

// ConfigurationState is the state of a configuration as operators see it: in fewer words
// than configState, from which stateShown makes it.
type ConfigurationState string

// The states of a configuration.
const (
	// ConfigurationReady: it serves as its spec says. Its issuers have a health
	// of their own, see issuer.Status.
	ConfigurationReady ConfigurationState = "Ready"
	// ConfigurationPending: its present spec is not built yet.
	ConfigurationPending ConfigurationState = "Pending"
	// ConfigurationBroken: its present spec can't be built.
	ConfigurationBroken ConfigurationState = "Broken"
	// ConfigurationMissing: a type names it, but it does not exist.
	ConfigurationMissing ConfigurationState = "Missing"
	// ConfigurationUnused: no type names it, so it is not built.
	ConfigurationUnused ConfigurationState = "Unused"
)

// ConfigurationStates are all there are.
func ConfigurationStates() []ConfigurationState {
	return []ConfigurationState{ConfigurationReady, ConfigurationPending, ConfigurationBroken, ConfigurationMissing, ConfigurationUnused}
}

// ConfigurationStatus is what operators see of a
// WorkspaceAuthenticationConfiguration.
type ConfigurationStatus struct {
	Shard, Cluster, Name string
	// Version is the resourceVersion.
	Version string
	// Types are the names of the types, all in Cluster, that name it.
	Types []string
	State ConfigurationState
	// Error says why it is Broken.
	Error string
	// LoginError says why people without a login are not told what the
	// configuration's annotations say; empty when they are, or are to be told nothing.
	LoginError string
	// CachedTokens is how many verified tokens are remembered.
	CachedTokens int
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
func (i *Index) Counts() map[ConfigurationState]int {
	counts := map[ConfigurationState]int{}
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, s := range i.shards {
		for _, c := range s.configs {
			counts[c.stateShown()]++
		}
	}
	return counts
}

func (c *configEntry) status() ConfigurationStatus {
	s := ConfigurationStatus{Shard: c.shard, Cluster: c.name.cluster, Name: c.name.name, Version: c.object.version, State: c.stateShown(), LoginError: c.loginError()}
	for e := range c.users {
		s.Types = append(s.Types, e.name.name)
	}
	slices.Sort(s.Types)
	for _, a := range c.inUse.authenticators {
		s.CachedTokens += a.CachedTokens()
	}
	if err := c.broken(); err != nil {
		s.Error = err.Error() + c.instead()
	}
	return s
}

// stateShown is c's state as operators see it: in one word for all builds that failed
// or are tried again, and one for all that are to come.
func (c *configEntry) stateShown() ConfigurationState {
	switch {
	case c.state == stateMissing:
		return ConfigurationMissing
	case c.broken() != nil:
		return ConfigurationBroken
	case c.state == stateUnused:
		return ConfigurationUnused
	case c.state == stateReady:
		return ConfigurationReady
	}
	return ConfigurationPending
}
