package workspacetypes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/jwt"
	"frontproxy/index"
)

// changeOwner is charged for fetches from issuers of changes that somebody
// tries, so that these take nothing from tenants' shares.
const changeOwner = "(explain)"

// given is the version of objects that are only tried.
const given = "(as given)"

// Change is what somebody thinks of applying in the logical cluster that owns a
// workspace type.
type Change struct {
	// Configurations are the specs of WorkspaceAuthenticationConfigurations, by name.
	Configurations map[string]json.RawMessage `json:"configurations,omitempty"`
	// Annotations are those of these objects, by name: they say how people log in.
	Annotations map[string]map[string]string `json:"annotations,omitempty"`
	// Types are the names in spec.authenticationConfigurations of WorkspaceTypes,
	// by name.
	Types map[string][]string `json:"types,omitempty"`
}

// DryRun is one type as a Change would make it: an index of that type alone.
type DryRun struct {
	published *TypeAuthenticators
	states    []authstatus.Authenticator
	// Notes name the parts of the change that have no effect on the type.
	Notes   []string
	built   []*jwt.Configuration
	entries []*configEntry
}

// Authenticators implements authn.TypeSource.
func (c *DryRun) Authenticators(index.Type) (*TypeAuthenticators, error) { return c.published, nil }

// DescribeType is for explanations.
func (c *DryRun) DescribeType(index.Type) []authstatus.Authenticator { return c.states }

// Close closes what was built.
func (c *DryRun) Close() {
	for _, b := range c.built {
		b.Close()
	}
}

// DryRun builds the type as the change would make it, within the limits that hold
// for every configuration. Configurations that the change leaves alone are those
// in use. It costs a build of each changed one: the caller bounds how often.
func (i *Index) DryRun(t index.Type, change *Change) (*DryRun, error) {
	return i.dryRun(i.builder.WithOwner(changeOwner), t, change)
}

// dryRun builds with b.
func (i *Index) dryRun(b *jwt.Builder, t index.Type, change *Change) (*DryRun, error) {
	e, drafts, err := i.draft(objectName{t.Cluster, t.Name}, change)
	if err != nil {
		return nil, err
	}
	out := &DryRun{entries: e.configs}
	for _, c := range drafts {
		if c.state == stateBuilding {
			out.build(b, e, c)
		}
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	i.publish(e)
	out.published, out.states = e.published, e.describe()
	out.note(t.Name, e, change)
	return out, nil
}

// draft makes the type's entry with the configurations it would name. Those in
// use are in it as they are; the others are new, and returned to be built.
func (i *Index) draft(name objectName, change *Change) (e *typeEntry, drafts []*configEntry, err error) {
	shard, s, err := i.lockShardOf(name.cluster)
	if err != nil {
		return nil, nil, err
	}
	defer i.mu.RUnlock()
	e = &typeEntry{name: name, version: given, evaluations: make(chan struct{}, evaluationsAtOnce), owner: &owner{evaluations: make(chan struct{}, 1)}}
	names, changed := change.Types[name.name]
	if now := s.types[name]; now != nil && !changed {
		e.version, e.dropped = now.version, now.dropped
		for _, c := range now.configs {
			names = append(names, c.name.name)
		}
	}
	e.dropped += max(0, len(names)-MaxConfigurations)
	for _, n := range names[:min(len(names), MaxConfigurations)] {
		c := s.configs[objectName{name.cluster, n}]
		if draft := draftOf(c, shard, objectName{name.cluster, n}, change); draft != nil {
			if i.config.LoginDiscovery && draft.object.version == given {
				draft.object.login = loginAnnotationsOf(change.Annotations[n])
			}
			c, drafts = draft, append(drafts, draft)
		}
		e.configs = append(e.configs, c)
	}
	return e, drafts, nil
}

// draftOf returns a new entry for a configuration unless it is in use as it is.
func draftOf(c *configEntry, shard string, name objectName, change *Change) *configEntry {
	raw, changed := change.Configurations[name.name]
	switch {
	case changed:
		spec, err := jwt.ParseSpec(raw)
		draft := newDraft(shard, name, configObject{version: given, spec: spec, err: err})
		if c != nil { // what stays in use if the draft does not build
			draft.inUse.authenticators, draft.inUse.version = c.inUse.authenticators, c.inUse.version
			draft.dropUntrusted(true)
		}
		return draft
	case c == nil:
		return &configEntry{name: name, shard: shard, state: stateMissing}
	case len(c.users) == 0: // it exists, and nobody names it so far
		return newDraft(shard, name, c.object)
	}
	return nil
}

// newDraft returns an entry whose turn to be built has come, if its spec allows that.
func newDraft(shard string, name objectName, object configObject) *configEntry {
	draft := &configEntry{name: name, shard: shard, state: stateBuilding, object: object}
	if object.err != nil {
		draft.state = stateInvalid
	}
	return draft
}

// build builds what is not in use.
func (c *DryRun) build(b *jwt.Builder, e *typeEntry, entry *configEntry) {
	built, err := b.Build(entry.name.cluster, entry.name.name, jwt.NewSpec(entry.object.spec.Entries))
	entry.users = map[*typeEntry]struct{}{e: {}}
	if err != nil {
		entry.failure.err, entry.state = err, entry.state.after(eventFailed)
		return
	}
	entry.inUse = configInUse{built: built, authenticators: built.Authenticators, version: entry.object.version}
	entry.state = entry.state.after(eventBuilt).after(eventTakesOver)
	c.built = append(c.built, built)
}

// note adds a note for each part of the change that has no effect on the type.
func (c *DryRun) note(name string, e *typeEntry, change *Change) {
	for _, n := range slices.Sorted(maps.Keys(change.Types)) {
		if n != name {
			c.Notes = append(c.Notes, fmt.Sprintf("the workspace's type is %s: the WorkspaceType %s given changes nothing for it", name, cmp.Or(n, "without a name")))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(change.Configurations)) {
		if !slices.ContainsFunc(e.configs, func(c *configEntry) bool { return c.name.name == n }) {
			c.Notes = append(c.Notes, fmt.Sprintf("the type %s does not name the configuration %s: it changes nothing", name, cmp.Or(n, "without a name")))
		}
	}
}
