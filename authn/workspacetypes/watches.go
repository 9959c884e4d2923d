package workspacetypes

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/index/shards"
)

// tenancyExport is the APIExport in root of both kinds.
const tenancyExport = "tenancy.kcp.io"

// Watches are what fills the index: WorkspaceTypes and
// WorkspaceAuthenticationConfigurations of every shard.
func (x *Index) Watches() []shards.ResourceWatch {
	resource := func(name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: name}
	}
	return []shards.ResourceWatch{
		{
			Resource: resource("workspacetypes"),
			Identity: tenancyExport,
			New:      func() shards.Object { return new(slimType) },
			Table:    func(shard string) shards.Table { return x.typeTable(shard) },
		},
		{
			Resource: resource("workspaceauthenticationconfigurations"),
			Identity: tenancyExport,
			New:      func() shards.Object { return new(slimConfig) },
			Table:    func(shard string) shards.Table { return x.configTable(shard) },
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

// Version implements shards.Object.
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
	Spec rawJSON `json:"spec"`
}

func (o *slimConfig) name() objectName {
	return objectName{o.Metadata.Annotations.Cluster, o.Metadata.Name}
}

func (o *slimConfig) login() loginAnnotations {
	a := &o.Metadata.Annotations
	return loginAnnotations{clientID: a.LoginClientID, scopes: a.LoginScopes, issuer: a.LoginIssuer, name: a.LoginName, secret: a.LoginClientSecret}
}

// Version implements shards.Object.
func (o *slimConfig) Version() string { return o.Metadata.ResourceVersion }

// rawJSON is a copy of a JSON value.
type rawJSON []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawJSON) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

func nameOf(m *shards.Meta) objectName { return objectName{m.Annotations.Cluster, m.Name} }

// typeTable starts a shard's life: what a shard of that name had is forgotten.
func (x *Index) typeTable(shard string) shards.Table {
	t := &typeTable{index: x, shard: shard}
	x.mu.Lock()
	x.shard(shard).typesSynced = false
	x.mu.Unlock()
	return t
}

// typeTable watches the WorkspaceTypes of one shard.
type typeTable struct {
	index *Index
	shard string
	list  uint64 // counts the lists
}

// Begin implements shards.Table.
func (t *typeTable) Begin() { t.list++ }

// Upsert implements shards.Table.
func (t *typeTable) Upsert(o shards.Object) {
	object, ok := o.(*slimType)
	if !ok {
		return
	}
	configs := make([]string, 0, len(object.Spec.AuthenticationConfigurations))
	for _, c := range object.Spec.AuthenticationConfigurations {
		configs = append(configs, c.Name)
	}
	t.index.upsertType(t.shard, nameOf(&object.Metadata), object.Version(), configs, t.list)
}

// Delete implements shards.Table.
func (t *typeTable) Delete(o shards.Object) {
	if object, ok := o.(*slimType); ok {
		t.index.deleteType(t.shard, nameOf(&object.Metadata))
	}
}

// End implements shards.Table.
func (t *typeTable) End() { t.index.endTypes(t.shard, t.list) }

func (x *Index) configTable(shard string) shards.Table {
	t := &configTable{index: x, shard: shard}
	x.mu.Lock()
	x.shard(shard).configsSynced = false
	x.mu.Unlock()
	return t
}

// configTable watches the WorkspaceAuthenticationConfigurations of one shard.
type configTable struct {
	index *Index
	shard string
	list  uint64
}

// Begin implements shards.Table.
func (t *configTable) Begin() { t.list++ }

// Upsert implements shards.Table.
func (t *configTable) Upsert(o shards.Object) {
	if object, ok := o.(*slimConfig); ok {
		t.index.upsertConfig(t.shard, object.name(), object.Version(), object.Spec, t.list)
		t.index.setLogin(t.shard, object.name(), object.login())
	}
}

// Delete implements shards.Table.
func (t *configTable) Delete(o shards.Object) {
	if object, ok := o.(*slimConfig); ok {
		t.index.deleteConfig(t.shard, object.name())
	}
}

// End implements shards.Table.
func (t *configTable) End() { t.index.endConfigs(t.shard, t.list) }
