package workspacetypes

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/index/shards"
)

// tenancyExport is the APIExport in root of both kinds.
const tenancyExport = "tenancy.kcp.io"

// Watches are what fills the index: WorkspaceTypes and
// WorkspaceAuthenticationConfigurations of every shard.
func (i *Index) Watches() []shards.ResourceWatch {
	resource := func(name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: name}
	}
	return []shards.ResourceWatch{
		{
			Resource: resource("workspacetypes"),
			Identity: tenancyExport,
			New:      func() shards.Object { return new(slimType) },
			Table:    i.typeTable,
		},
		{
			Resource: resource("workspaceauthenticationconfigurations"),
			Identity: tenancyExport,
			New:      func() shards.Object { return new(slimConfig) },
			Table:    i.configTable,
		},
	}
}

// slimType is what matters of a WorkspaceType.
type slimType struct {
	Metadata shards.Meta `json:"metadata"`
	Spec     struct {
		AuthenticationConfigurations []struct {
			Name string `json:"name"`
		} `json:"authenticationConfigurations"`
	} `json:"spec"`
}

func (o *slimType) name() objectName {
	return objectName{o.Metadata.Annotations.Cluster, o.Metadata.Name}
}

func (o *slimType) Version() string { return o.Metadata.ResourceVersion }

// slimConfig is what matters of a WorkspaceAuthenticationConfiguration. The spec
// is decoded later: one that can't be is broken, which is more than missing.
type slimConfig struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
		Annotations     struct {
			Cluster           string `json:"kcp.io/cluster"`
			LoginClientID     string `json:"front-proxy.kcp.io/login-client-id"`
			LoginScopes       string `json:"front-proxy.kcp.io/login-scopes"`
			LoginIssuer       string `json:"front-proxy.kcp.io/login-issuer"`
			LoginName         string `json:"front-proxy.kcp.io/login-name"`
			LoginClientSecret string `json:"front-proxy.kcp.io/login-client-secret"`
		} `json:"annotations"`
	} `json:"metadata"`
	Spec json.RawMessage `json:"spec"`
}

func (o *slimConfig) name() objectName {
	return objectName{o.Metadata.Annotations.Cluster, o.Metadata.Name}
}

func (o *slimConfig) login() loginAnnotations {
	a := &o.Metadata.Annotations
	return loginAnnotations{clientID: a.LoginClientID, scopes: a.LoginScopes, issuer: a.LoginIssuer, name: a.LoginName, secret: a.LoginClientSecret}.bounded()
}

func (o *slimConfig) Version() string { return o.Metadata.ResourceVersion }

// watched is a slimType or a slimConfig.
type watched interface {
	shards.Object
	name() objectName
}

// table watches the objects of one kind on one shard.
type table[O watched] struct {
	shard string
	list  uint64 // counts the lists
	// upsert and delete take an object, end what was not seen in a list.
	upsert func(shard string, o O, list uint64)
	delete func(shard string, name objectName)
	end    func(shard string, list uint64)
}

func (t *table[O]) Begin() { t.list++ }

func (t *table[O]) Upsert(o shards.Object) {
	if object, ok := o.(O); ok {
		t.upsert(t.shard, object, t.list)
	}
}

func (t *table[O]) Delete(o shards.Object) {
	if object, ok := o.(O); ok {
		t.delete(t.shard, object.name())
	}
}

func (t *table[O]) End(string) { t.end(t.shard, t.list) }

// typeTable starts a shard's life: what a shard of that name had is forgotten.
func (i *Index) typeTable(shard string) shards.Table {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.shard(shard).typesSynced = false
	return &table[*slimType]{shard: shard, upsert: i.upsertType, delete: i.deleteType, end: i.endTypes}
}

// configTable is typeTable's for configurations.
func (i *Index) configTable(shard string) shards.Table {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.shard(shard).configsSynced = false
	return &table[*slimConfig]{shard: shard, upsert: i.upsertConfig, delete: i.deleteConfig, end: i.endConfigs}
}
