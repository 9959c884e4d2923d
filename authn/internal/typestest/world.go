package typestest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/index/shards"
)

// Placement says where logical clusters are.
type Placement struct {
	mu sync.Mutex
	Of map[string]string
}

// ShardOf returns the shard of a cluster.
func (p *Placement) ShardOf(cluster string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	shard, ok := p.Of[cluster]
	return shard, ok
}

// Move puts a cluster on a shard.
func (p *Placement) Move(cluster, shard string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Of[cluster] = shard
}

// World feeds an index of workspace types through its watches.
type World struct {
	t       testing.TB
	Tables  map[string]map[string]shards.Table // shard, resource
	Watches map[string]shards.ResourceWatch
	Version int // of the last object
}

// New starts the life of the shards.
func New(t testing.TB, watches []shards.ResourceWatch, shardNames ...string) *World {
	w := &World{t: t, Tables: map[string]map[string]shards.Table{}, Watches: map[string]shards.ResourceWatch{}}
	for _, f := range watches {
		w.Watches[f.Resource.Resource] = f
	}
	for _, name := range shardNames {
		w.Tables[name] = map[string]shards.Table{}
		for resource, f := range w.Watches {
			w.Tables[name][resource] = f.Table(name)
		}
	}
	return w
}

// What is watched.
const (
	TypesResource   = "workspacetypes"
	ConfigsResource = "workspaceauthenticationconfigurations"
)

// Decode makes an object as a watch does.
func (w *World) Decode(watch, cluster, name string, spec string) shards.Object {
	w.t.Helper()
	w.Version++
	raw := fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"%d","uid":"x","annotations":{"kcp.io/cluster":%q,"kcp.io/path":"root"}},"spec":%s,"status":{}}`, name, w.Version, cluster, spec)
	o := w.Watches[watch].New()
	if err := json.Unmarshal([]byte(raw), o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// TypeOf makes a WorkspaceType.
func (w *World) TypeOf(cluster, name string, configs ...string) shards.Object {
	w.t.Helper()
	refs := []tokentest.Object{}
	for _, c := range configs {
		refs = append(refs, tokentest.Object{"name": c})
	}
	return w.Decode(TypesResource, cluster, name, tokentest.JSON(tokentest.Object{"authenticationConfigurations": refs}))
}

// SetType sets a WorkspaceType on a shard.
func (w *World) SetType(shard, cluster, name string, configs ...string) {
	w.t.Helper()
	w.Tables[shard][TypesResource].Upsert(w.TypeOf(cluster, name, configs...))
}

// SetConfig sets a WorkspaceAuthenticationConfiguration on a shard.
func (w *World) SetConfig(shard, cluster, name, spec string) {
	w.t.Helper()
	w.Tables[shard][ConfigsResource].Upsert(w.Decode(ConfigsResource, cluster, name, spec))
}

// List replaces what a shard has.
func (w *World) List(shard, watch string, objects ...shards.Object) {
	table := w.Tables[shard][watch]
	table.Begin()
	for _, o := range objects {
		table.Upsert(o)
	}
	table.End("")
}

// Sync lists nothing on every shard.
func (w *World) Sync() {
	for shard := range w.Tables {
		w.List(shard, TypesResource)
		w.List(shard, ConfigsResource)
	}
}
