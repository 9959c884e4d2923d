package workspacetypes

import (
	"maps"
	"slices"
	"time"

	"frontproxy/authn/jwt"
)

// configEntry is a configuration that exists, or that a type names.
type configEntry struct {
	name    objectName
	shard   string
	present bool
	version string
	seen    uint64
	users   map[*typeEntry]struct{}

	spec    *jwt.Spec // nil if the object does not exist
	specErr error     // why spec is not to be built
	login   loginAnnotations

	built   *jwt.Configuration // the last that built; nil when none is in use
	serving []*jwt.Authenticator
	// next is of spec and takes built's place at until, or before that when it
	// has the keys of the issuers that it trusts otherwise; nil when none waits.
	next      *jwt.Configuration
	until     time.Time
	current   bool   // built is of spec
	of        string // built's version
	queued    bool
	err       error // of the last build
	failures  int
	due       time.Time
	loggedErr error // the error that was logged last; nil when there is none now
}

// unuse takes a type off a configuration, and ends one that is left without.
func (i *Index) unuse(s *typeShard, c *configEntry, e *typeEntry) {
	delete(c.users, e)
	if len(c.users) > 0 {
		return
	}
	i.stop(c)
	if !c.present {
		delete(s.configs, c.name)
	}
}

// configEntry is the entry of name, made when there is none.
func (i *Index) configEntry(s *typeShard, shard string, name objectName) *configEntry {
	c := s.configs[name]
	if c == nil {
		c = &configEntry{name: name, shard: shard, users: map[*typeEntry]struct{}{}}
		s.configs[name] = c
	}
	return c
}

// upsertConfig takes a WorkspaceAuthenticationConfiguration as it is now; spec
// is its spec's JSON.
func (i *Index) upsertConfig(shard string, name objectName, version string, raw []byte, seen uint64) {
	spec, err := jwt.ParseSpec(raw)
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.configEntry(i.shard(shard), shard, name)
	same := c.present && c.version == version
	unchanged := c.present && spec.Sum == c.spec.Sum
	c.present, c.version, c.seen = true, version, seen
	switch {
	case same && unchanged:
		return
	case unchanged: // only the record names the version
		if c.current {
			c.of = version
		}
	default:
		i.change(c, spec, err)
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
	i.stop(c)
	c.present, c.version, c.spec, c.specErr, c.err, c.failures, c.loggedErr = false, "", nil, nil, nil, 0, nil
	c.login = loginAnnotations{}
	if len(c.users) == 0 {
		delete(s.configs, c.name)
		return
	}
	i.publishUsers(c)
}

// endConfigs ends a list of configurations.
func (i *Index) endConfigs(shard string, seen uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	for _, c := range slices.Collect(maps.Values(s.configs)) {
		if c.present && c.seen != seen {
			i.dropConfig(s, c)
		}
	}
	s.configsSynced = true
}
