package workspacetypes

import (
	"runtime"
	"slices"
)

// typeEntry is a type that names configurations.
type typeEntry struct {
	name        objectName
	version     string
	configs     []*configEntry // as named; at most MaxConfigurations
	dropped     int            // named beyond that
	evaluations chan struct{}
	owner       *owner
	published   *TypeAuthenticators // what requests read; replaced, never edited
	seen        uint64
}

// upsertType takes a WorkspaceType as it is now.
func (i *Index) upsertType(shard string, o *slimType, seen uint64) {
	name, configs := o.name(), o.Spec.AuthenticationConfigurations
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	e := s.types[name]
	if len(configs) == 0 {
		if e != nil {
			i.dropType(s, e)
		}
		return
	}
	if e == nil {
		e = &typeEntry{name: name, evaluations: make(chan struct{}, evaluationsAtOnce), owner: s.enterType(name.cluster)}
		s.types[name] = e
	}
	e.version, e.seen = o.Version(), seen
	old := e.configs
	e.dropped = max(0, len(configs)-MaxConfigurations)
	e.configs = nil
	for _, config := range configs[:len(configs)-e.dropped] {
		c := i.configEntry(s, shard, objectName{name.cluster, config.Name})
		if !slices.Contains(e.configs, c) {
			e.configs = append(e.configs, c)
			c.users[e] = struct{}{}
			i.transition(c, eventNamed)
		}
	}
	for _, c := range old {
		if !slices.Contains(e.configs, c) {
			i.unuse(s, c, e)
		}
	}
	i.publish(e)
}

// deleteType forgets a WorkspaceType.
func (i *Index) deleteType(shard string, name objectName) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	if e := s.types[name]; e != nil {
		i.dropType(s, e)
	}
}

func (i *Index) dropType(s *typeShard, e *typeEntry) {
	delete(s.types, e.name)
	if e.owner.types--; e.owner.types == 0 {
		delete(s.owners, e.name.cluster)
	}
	for _, c := range e.configs {
		i.unuse(s, c, e)
	}
}

// endTypes ends a list of types: what was not seen in it does not exist.
func (i *Index) endTypes(shard string, seen uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shard(shard)
	for _, e := range s.types {
		if e.seen != seen {
			i.dropType(s, e)
		}
	}
	s.typesSynced = true
}

// MaxConfigurations is how many configurations of a type are used.
const MaxConfigurations = 16

// evaluationsAtOnce is how many tokens' CEL expressions run at once for a
// workspace type; others wait.
const evaluationsAtOnce = 2

// evaluationsOfOwner is how many tokens' CEL expressions run at once for all the
// types of one logical cluster: half of the processors at most, however many
// types it has. The other half is its neighbours'.
func evaluationsOfOwner() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// owner is a logical cluster that has types with configurations.
type owner struct {
	// evaluations has a slot for each evaluation that may run now.
	evaluations chan struct{}
	types       int // that it has
}

// enterType counts one more type of cluster and returns its owner. The caller
// holds Index.mu.
func (s *typeShard) enterType(cluster string) *owner {
	o := s.owners[cluster]
	if o == nil {
		o = &owner{evaluations: make(chan struct{}, evaluationsOfOwner())}
		s.owners[cluster] = o
	}
	o.types++
	return o
}
