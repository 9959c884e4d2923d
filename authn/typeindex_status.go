package authn

import (
	"cmp"
	"slices"
)

// ConfigurationState says how far a configuration got.
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
	// CachedTokens is how many verified tokens are remembered.
	CachedTokens int
}

// Status lists all configurations by shard, cluster and name.
func (x *TypeIndex) Status() []ConfigurationStatus {
	x.mu.RLock()
	var all []ConfigurationStatus
	for _, s := range x.shards {
		for _, c := range s.configs {
			all = append(all, c.status())
		}
	}
	x.mu.RUnlock()
	slices.SortFunc(all, func(a, b ConfigurationStatus) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func (c *configEntry) status() ConfigurationStatus {
	s := ConfigurationStatus{Shard: c.shard, Cluster: c.name.cluster, Name: c.name.name, Version: c.version}
	for e := range c.users {
		s.Types = append(s.Types, e.name.name)
	}
	slices.Sort(s.Types)
	for _, a := range c.serving {
		s.CachedTokens += a.cache.len()
	}
	err := cmp.Or(c.specErr, c.err)
	switch {
	case !c.present:
		s.State = ConfigurationMissing
	case err != nil:
		s.State, s.Error = ConfigurationBroken, err.Error()
	case len(c.users) == 0:
		s.State = ConfigurationUnused
	case !c.current:
		s.State = ConfigurationPending
	default:
		s.State = ConfigurationReady
	}
	return s
}
