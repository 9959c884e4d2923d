package workspacetypes

import (
	"cmp"
	"time"

	"frontproxy/authn/jwt"
)

// configEntry is a configuration that exists, or that a type names. Index.mu guards it.
type configEntry struct {
	name  objectName
	shard string
	users map[*typeEntry]struct{} // that name it
	state buildState
	// object is the WorkspaceAuthenticationConfiguration as it is now; zero in
	// stateMissing.
	object configObject
	// inUse serves: in stateReady what was built of the present spec, in the other
	// states what the present spec still trusts of an earlier one; zero when that is
	// nothing, and when no type names it.
	inUse configInUse
	// failure says why the last build of the present spec failed; zero if it did not, or
	// if there was none.
	failure buildFailure
	// handOver is from one IssuerRef to another with the same URL; zero when there is none.
	handOver handOver
	// loggedErr is the error that was logged last; nil when there is none now.
	loggedErr error
	// queued: it is in Index.todo; outside stateQueued, its turn there has no effect. Only
	// the buildQueue uses it.
	queued bool
}

// configObject is what matters of an object.
type configObject struct {
	version string // resourceVersion
	seen    uint64 // number of the list that it was in last
	spec    *jwt.Spec
	err     error // why spec is not to be built; set in stateInvalid only
	login   loginAnnotations
}

// configInUse is what serves tokens.
type configInUse struct {
	built *jwt.Configuration
	// authenticators are those of built that are still trusted.
	authenticators []*jwt.Authenticator
	version        string // of the object that was built
}

// buildFailure says how builds failed.
type buildFailure struct {
	err   error
	count int
	due   time.Time // of the next build, in stateFailed
}

// broken is why the present spec can't be built; nil when that is not known.
func (c *configEntry) broken() error { return cmp.Or(c.object.err, c.failure.err) }

// unuse says that a type no longer names a configuration. One that no type names any more is
// neither built nor served.
func (i *Index) unuse(s *typeShard, c *configEntry, e *typeEntry) {
	delete(c.users, e)
	if len(c.users) > 0 {
		return
	}
	i.transition(c, eventUnnamed)
	i.stopServing(c)
	if c.state == stateMissing {
		s.removeConfig(c)
	}
}

// configEntry is the entry of name, made when there is none.
func (i *Index) configEntry(s *typeShard, shard string, name objectName) *configEntry {
	c := s.configs[name]
	if c == nil {
		c = &configEntry{name: name, shard: shard, state: stateMissing, users: map[*typeEntry]struct{}{}}
		s.configs[name] = c
		if s.configsOf[name.cluster] == nil {
			s.configsOf[name.cluster] = map[*configEntry]struct{}{}
		}
		s.configsOf[name.cluster][c] = struct{}{}
	}
	return c
}

// removeConfig is the reverse of Index.configEntry.
func (s *typeShard) removeConfig(c *configEntry) {
	delete(s.configs, c.name)
	cluster := c.name.cluster
	if delete(s.configsOf[cluster], c); len(s.configsOf[cluster]) == 0 {
		delete(s.configsOf, cluster)
	}
}

// upsertConfig takes a WorkspaceAuthenticationConfiguration as it is now.
func (i *Index) upsertConfig(shard string, o *slimConfig, seen uint64) {
	spec, err := jwt.ParseSpec(o.Spec)
	version, login := o.Version(), loginAnnotations{}
	if i.config.LoginDiscovery {
		login = o.login()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.configEntry(i.shard(shard), shard, o.name())
	old := c.object
	c.object.version, c.object.seen, c.object.login = version, seen, login
	switch {
	case c.state == stateMissing || spec.Sum != old.spec.Sum:
		i.change(c, spec, err)
	case old.version == version && old.login == login:
		return
	case c.state == stateReady: // only what is published names the version
		c.inUse.version = version
	}
	i.publishUsers(c)
}

// deleteConfig forgets a WorkspaceAuthenticationConfiguration.
func (i *Index) deleteConfig(shard string, name objectName) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	if c := s.configs[name]; c != nil {
		i.dropConfig(s, c)
	}
}

func (i *Index) dropConfig(s *typeShard, c *configEntry) {
	c.object, c.failure, c.loggedErr = configObject{}, buildFailure{}, nil
	i.transition(c, eventDeleted)
	i.stopServing(c)
	if len(c.users) == 0 {
		s.removeConfig(c)
		return
	}
	i.publishUsers(c)
}

// endConfigs ends a list of configurations.
func (i *Index) endConfigs(shard string, seen uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	for _, c := range s.configs {
		if c.state != stateMissing && c.object.seen != seen {
			i.dropConfig(s, c)
		}
	}
	s.configsSynced = true
}
