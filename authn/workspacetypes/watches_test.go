package workspacetypes

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/internal/typestest"
	"frontproxy/index"
)

// TestTypesOfNewerKCP: what newer kcps add to a WorkspaceType, or may add, changes
// nothing of its authenticators.
func TestTypesOfNewerKCP(t *testing.T) {
	x := New(Config{Placement: &typestest.Placement{Of: map[string]string{"root": "root"}}})
	watches := x.Watches()
	table := watches[0].Table("root")
	object := watches[0].New()
	if err := json.Unmarshal([]byte(`{"kind":"WorkspaceType","metadata":{"name":"team","resourceVersion":"7","annotations":{"kcp.io/cluster":"root"},"labels":{"a":"b"}},
		"spec":{"initializer":true,"terminator":true,"initializerPermissions":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}],
		"terminatorPermissions":[{"apiGroups":[""],"resources":["secrets"],"verbs":["delete"]}],"permissions":{"authenticationConfigurations":[{"name":"evil"}]},
		"authenticationConfigurations":[{"name":"gone","later":{"name":"evil"}}],"later":[1,null,{"name":"evil"}]},"status":{"phase":"Later"}}`), object); err != nil {
		t.Fatal(err)
	}
	table.Begin()
	table.Upsert(object)
	table.End("")
	configurations := watches[1].Table("root")
	configurations.Begin()
	configurations.End("")
	got, err := x.Authenticators(index.Type{Cluster: "root", Name: "team", Path: "root"})
	if err != nil || got == nil {
		t.Fatalf("the type has %v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"authentication configuration gone does not exist"}, got.Undecided); diff != "" {
		t.Errorf("what is missing (-want +got):\n%s", diff)
	}
}
