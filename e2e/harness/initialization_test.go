package harness

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestInitializationIsTold: what an error says of a workspace that is not ready,
// and whether kcp is to be made to try again.
func TestInitializationIsTold(t *testing.T) {
	failed := `{"type":"APIBindingsInitialized","status":"False","reason":"APIBindingErrors","message":"encountered errors: not found"}`
	waiting := `{"type":"APIBindingsInitialized","status":"False","reason":"WaitingOnAPIBindings","message":"APIBinding(s) not yet fully bound: tenancy"}`
	binding := `{"metadata":{"name":"tenancy"},"status":{"phase":"Binding","conditions":[{"type":"APIExportValid","status":"False","reason":"APIExportNotFound","message":"no export"},{"type":"Ready","status":"True","reason":"Yes"}]}}`
	for name, tc := range map[string]struct {
		initializers, condition, bindings string
		givenUp                           bool
		told                              []string
	}{
		"an error that kcp does not come back to": {`["system:apibindings"]`, failed, "", true, []string{"[system:apibindings]", "APIBindingErrors encountered errors: not found"}},
		"an error from before":                    {`["root:universal"]`, failed, "", false, []string{"[root:universal]"}},
		"an APIBinding that waits":                {`["system:apibindings"]`, waiting, binding, false, []string{"not yet fully bound: tenancy", "APIBinding tenancy is Binding, APIExportValid is False: APIExportNotFound no export"}},
		"another's initializer":                   {`["org:mine"]`, "", "", false, []string{"[org:mine]"}},
	} {
		t.Run(name, func(t *testing.T) {
			var i initialization
			if err := json.Unmarshal([]byte(`{"status":{"initializers":`+tc.initializers+`,"conditions":[`+tc.condition+`]}}`), &i.cluster); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(`{"items":[`+tc.bindings+`]}`), &i.bindings); err != nil {
				t.Fatal(err)
			}
			if got := i.givenUp(); got != tc.givenUp {
				t.Errorf("given up: %t", got)
			}
			for _, want := range tc.told {
				if !strings.Contains(i.Error(), want) {
					t.Errorf("%q lacks %q", i.Error(), want)
				}
			}
			if strings.Contains(i.Error(), "Yes") {
				t.Errorf("%q tells of a condition that holds", i.Error())
			}
		})
	}
}
