package shards

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// shaped has every kind of field that slim types have.
type shaped struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Cluster string    `json:"cluster"`
		Mount   *struct{} `json:"mount"`
		Owner   *string   `json:"owner"`
		List    []struct {
			Name string `json:"name"`
		} `json:"list"`
		Raw     json.RawMessage `json:"raw"`
		Untaged int
	} `json:"spec"`
}

// TestFastDecoderAgreesWithTheUsualOne: what is decoded is decoded as usual, and what API servers send is
// decoded.
func TestFastDecoderAgreesWithTheUsualOne(t *testing.T) {
	p := newFastDecoder(reflect.TypeFor[shaped]())
	for _, tt := range []struct {
		name, in string
		plain    bool
	}{
		{"as it comes", `{"kind":"X","metadata":{"name":"n","resourceVersion":"7","annotations":{"kcp.io/cluster":"c"}},"spec":{"cluster":"x","owner":"o","mount":{"any":[{}]}},"status":{}}`, true},
		{"spaces", ` { "metadata" : { "name" : "n" } } `, true},
		{"twice", `{"spec":{"cluster":"a","owner":"o"},"spec":{"cluster":"b"}}`, true},
		{"nothing", `{}`, true},
		{"an escape", `{"metadata":{"name":"\u006e"}}`, false},
		{"an escape in a name", `{"met\u0061data":{"name":"n"}}`, false},
		{"an escape in what is not read", `{"kind":"\"","metadata":{"name":"n"}}`, true},
		{"beyond ASCII", `{"metadata":{"name":"ü"}}`, false},
		{"null", `{"spec":{"owner":null}}`, false},
		{"null in place of an object", `{"metadata":null}`, false},
		{"a number", `{"metadata":{"name":7}}`, false},
		{"a field of another kind", `{"spec":{"list":[{"name":"a"}]}}`, false},
		{"more behind it", `{}{}`, false},
		{"cut", `{"metadata":{"name":"n`, false},
		{"no object", `[]`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got, want shaped
			if ok := p.decode([]byte(tt.in), reflect.ValueOf(&got).Elem()); ok != tt.plain {
				t.Fatalf("decoded: %t", ok)
			}
			if err := utiljson.Unmarshal([]byte(tt.in), &want); tt.plain && (err != nil || !reflect.DeepEqual(got, want)) {
				t.Errorf("%v; (-want +got):\n%s", err, cmp.Diff(want, got))
			}
		})
	}
}

// FuzzPlain: an object decodes to the same with and without the decoder.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"name":"n","annotations":{"kcp.io/cluster":"c"}},"spec":{"cluster":"x","list":[{"name":"a"}],"mount":{},"raw":1,"Untaged":2}}`,
		` { "spec" : { "owner" : "\\\"" , "cl\u0075ster":"c" } , "status":[{"a":"]}"}] } `, `{"metadata":1}`, `{"a":"\`, `{"":{}}`, `null`,
		`{"kind":[1,{"a":"}"}],"metadata":{"name":"n"},"spec":{"cluster":"x","owner":"o"}}`,
	} {
		f.Add([]byte(s))
	}
	p := newFastDecoder(reflect.TypeFor[shaped]())
	f.Fuzz(func(t *testing.T, in []byte) {
		var want, got shaped
		if !p.decode(in, reflect.ValueOf(&got).Elem()) || !json.Valid(in) {
			return
		}
		if err := utiljson.Unmarshal(in, &want); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: the decoder says %v (-want +got):\n%s", in, err, cmp.Diff(want, got))
		}
	})
}

// BenchmarkDecode is what an event costs, as kcp sends it: two fifths of it are
// managedFields.
func BenchmarkDecode(b *testing.B) {
	raw := []byte(bigObject)
	f := &follower{newObj: func() Object { return &item{} }, plain: newFastDecoder(reflect.TypeFor[item]())}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if f.decode(raw) == nil {
				b.Fatal("it does not decode")
			}
		}
	})
	f.plain = &fastDecoder{}
	b.Run("decoder", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if f.decode(raw) == nil {
				b.Fatal("it does not decode")
			}
		}
	})
}

const bigObject = `{"apiVersion":"tenancy.kcp.io/v1alpha1","kind":"Workspace","metadata":{"annotations":{"experimental.tenancy.kcp.io/owner":"{\"username\":\"alice@example.com\",\"groups\":[\"system:authenticated\"]}","internal.tenancy.kcp.io/cluster":"2x7uq3bb1ndsxl4e","internal.tenancy.kcp.io/shard":"1gl2ud0k","kcp.io/cluster":"root"},"creationTimestamp":"2026-03-01T09:30:00Z","finalizers":["core.kcp.io/logicalcluster"],"generation":3,"labels":{"tenancy.kcp.io/phase":"Ready"},"managedFields":[{"apiVersion":"tenancy.kcp.io/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:internal.tenancy.kcp.io/cluster":{},"f:internal.tenancy.kcp.io/shard":{}},"f:finalizers":{".":{},"v:\"core.kcp.io/logicalcluster\"":{}},"f:labels":{".":{},"f:tenancy.kcp.io/phase":{}}},"f:spec":{"f:URL":{},"f:cluster":{}},"f:status":{".":{},"f:conditions":{".":{},"k:{\"type\":\"WorkspaceScheduled\"}":{".":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"WorkspaceInitialized\"}":{".":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:phase":{}}},"manager":"kcp","operation":"Update","time":"2026-03-01T09:30:00Z"}],"name":"team","resourceVersion":"123456","uid":"7d3c1d0e-77a1-4e55-9b55-000000000001"},"spec":{"URL":"https://10.0.0.1:6443/clusters/2x7uq3bb1ndsxl4e","cluster":"2x7uq3bb1ndsxl4e","value":"v","type":{"name":"universal","path":"root"}},"status":{"conditions":[{"lastTransitionTime":"2026-03-01T09:30:00Z","status":"True","type":"WorkspaceScheduled"},{"lastTransitionTime":"2026-03-01T09:30:00Z","status":"True","type":"WorkspaceInitialized"}],"phase":"Ready"}}`
