package shards

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

func TestTrim(t *testing.T) {
	keeps := shapeOf(reflect.TypeFor[*shaped]())
	for _, tt := range []struct{ name, in, want string }{
		{"nothing of use", `{"kind":"X","status":{"a":[1,{"b":"}"}]}}`, `{}`},
		{"only what is read", `{"kind":"X", "metadata" : {"managedFields":[{"a":{}}],"name":"n" , "labels":{"name":"no"}}, "spec":{"cluster":"c","x":1}}`,
			`{"metadata":{"name":"n"},"spec":{"cluster":"c"}}`},
		{"annotations", `{"metadata":{"annotations":{"kcp.io/path":"p","kcp.io/cluster":"c"}}}`, `{"metadata":{"annotations":{"kcp.io/cluster":"c"}}}`},
		{"what is there, not what it has", `{"spec":{"mount":{"ref":{"kind":"K"}}}}`, `{"spec":{"mount":{}}}`},
		{"lists and raw values whole", `{"spec":{"list":[{"name":"a","x":"]"}],"raw":{"any":[true]}}}`, `{"spec":{"list":[{"name":"a","x":"]"}],"raw":{"any":[true]}}}`},
		{"another form than expected", `{"metadata":"text","spec":[1]}`, `{"metadata":"text","spec":[1]}`},
		{"null", `{"metadata":null,"spec":{"mount":null,"Untaged":1}}`, `{"metadata":null,"spec":{"mount":null,"Untaged":1}}`},
		{"a name spelt with an escape", `{"meta\u0064ata":{"name":"n"}}`, `{"meta\u0064ata":{"name":"n"}}`},
		{"another case", `{"Metadata":{"name":"n"}}`, `{}`},
		{"quotes and backslashes in a string", `{"x":"\\\"}","spec":{"cluster":"a\\"}}`, `{"spec":{"cluster":"a\\"}}`},
		{"twice", `{"spec":{"cluster":"a"},"spec":{"cluster":"b"}}`, `{"spec":{"cluster":"a"},"spec":{"cluster":"b"}}`},
		{"cut", `{"spec":{"cluster":"a`, `{"spec":{"cluster":"a`},
		{"no object", `[]`, `[]`},
		{"empty", ``, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(keeps.trim(nil, []byte(tt.in)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEvent: of an event's object, whose form depends on the type, what any of
// them needs is kept.
func TestEvent(t *testing.T) {
	keeps := eventObject(shapeOf(reflect.TypeFor[item]()))
	for in, want := range map[string]event{
		`{"type":"BOOKMARK","object":{"kind":"X","metadata":{"resourceVersion":"7","uid":"u","annotations":{"k8s.io/initial-events-end":"true"}}}}`: {"BOOKMARK", []byte(`{"kind":"X","metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}`)},
		`{"object":{"kind":"Status","code":410,"reason":"Expired","message":"old","status":"Failure"},"type":"ERROR"}`:                              {"ERROR", []byte(`{"kind":"Status","code":410,"reason":"Expired","message":"old"}`)},
		` { "type" : "ADDED" , "more":[{"type":"ERROR"}], "object" : {"metadata":{"name":"n"},"spec":{"value":"v","more":1}} } `:                    {"ADDED", []byte(`{"metadata":{"name":"n"},"spec":{"value":"v"}}`)},
		`{"type":"DELETED","type":"MODIFIED","object":{"spec":{"value":"a"}},"object":{}}`:                                                          {"MODIFIED", []byte(`{}`)},
		`{"type":"PATCHED","object":null}`: {"", []byte(`null`)},
		`{"type":7}`:                       {},
		`{}`:                               {},
	} {
		e := event{"DELETED", []byte("the one before")}
		if err := e.read([]byte(in), keeps); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, e, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{``, `[]`, `{`, `{"type"`, `{"type":}`, `{"object":}`, `{"type":"ADDED","object":{"spec"`, `{1:2}`} {
		if err := new(event).read([]byte(in), keeps); err == nil {
			t.Errorf("%s is taken for an event", in)
		}
	}
}

// FuzzEvent: events are read as the decoder reads them.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{`{"type":"ADDED","object":{"spec":{"value":"v"}}}`, `{"object":null,"type":"ERROR"}`, `{"type":"ADDED","type":"DELETED"}`, `{"typ\u0065":"ADDED"}`, `{"a":"\`, `{} `} {
		f.Add([]byte(s))
	}
	keeps := &shape{} // whole
	f.Fuzz(func(t *testing.T, in []byte) {
		var got event
		err := got.read(in, keeps)
		var want struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if bytes.IndexByte(in, '\\') >= 0 || utiljson.Unmarshal(in, &want) != nil {
			return // a name or a type may be spelt otherwise, which no server does
		}
		switch want.Type {
		case "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR":
		default:
			want.Type = ""
		}
		if trimmed := bytes.TrimSpace(in); len(trimmed) == 0 || trimmed[0] != '{' {
			return
		}
		if err != nil || got.Type != want.Type || !bytes.Equal(bytes.TrimSpace(want.Object), got.Object) {
			t.Errorf("%s: %q %s, %v; want %q %s", in, got.Type, got.Object, err, want.Type, want.Object)
		}
	})
}

// FuzzTrim: an object decodes to the same with and without being trimmed.
func FuzzTrim(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"name":"n","annotations":{"kcp.io/cluster":"c"}},"spec":{"cluster":"x","list":[{"name":"a"}],"mount":{},"raw":1,"Untaged":2}}`,
		` { "spec" : { "owner" : "\\\"" , "cl\u0075ster":"c" } , "status":[{"a":"]}"}] } `, `{"metadata":1}`, `{"a":"\`, `{"":{}}`, `null`,
	} {
		f.Add([]byte(s))
	}
	keeps := shapeOf(reflect.TypeFor[shaped]())
	f.Fuzz(func(t *testing.T, in []byte) {
		trimmed := keeps.trim(nil, in)
		if !json.Valid(in) {
			return
		}
		var want, got shaped
		wantErr, gotErr := utiljson.Unmarshal(in, &want), utiljson.Unmarshal(trimmed, &got)
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("%s: error %v\ntrimmed to %s: error %v", in, wantErr, trimmed, gotErr)
		}
		if diff := cmp.Diff(want, got); wantErr == nil && diff != "" {
			t.Errorf("%s\ntrimmed to %s (-want +got):\n%s", in, trimmed, diff)
		}
	})
}

// BenchmarkDecode is what an event costs, as kcp sends it: two fifths of it are
// managedFields.
func BenchmarkDecode(b *testing.B) {
	raw := []byte(bigObject)
	f := &follower{newObj: func() Object { return &item{} }, keeps: shapeOf(reflect.TypeFor[item]())}
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if f.decode(raw) == nil {
				b.Fatal("it does not decode")
			}
		}
	})
	b.Run("trimmed", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		var buf []byte
		for b.Loop() {
			buf = f.keeps.trim(buf[:0], raw)
			if f.decode(buf) == nil {
				b.Fatal("it does not decode")
			}
		}
	})
}

const bigObject = `{"apiVersion":"tenancy.kcp.io/v1alpha1","kind":"Workspace","metadata":{"annotations":{"experimental.tenancy.kcp.io/owner":"{\"username\":\"alice@example.com\",\"groups\":[\"system:authenticated\"]}","internal.tenancy.kcp.io/cluster":"2x7uq3bb1ndsxl4e","internal.tenancy.kcp.io/shard":"1gl2ud0k","kcp.io/cluster":"root"},"creationTimestamp":"2026-03-01T09:30:00Z","finalizers":["core.kcp.io/logicalcluster"],"generation":3,"labels":{"tenancy.kcp.io/phase":"Ready"},"managedFields":[{"apiVersion":"tenancy.kcp.io/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:internal.tenancy.kcp.io/cluster":{},"f:internal.tenancy.kcp.io/shard":{}},"f:finalizers":{".":{},"v:\"core.kcp.io/logicalcluster\"":{}},"f:labels":{".":{},"f:tenancy.kcp.io/phase":{}}},"f:spec":{"f:URL":{},"f:cluster":{}},"f:status":{".":{},"f:conditions":{".":{},"k:{\"type\":\"WorkspaceScheduled\"}":{".":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"WorkspaceInitialized\"}":{".":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:phase":{}}},"manager":"kcp","operation":"Update","time":"2026-03-01T09:30:00Z"}],"name":"team","resourceVersion":"123456","uid":"7d3c1d0e-77a1-4e55-9b55-000000000001"},"spec":{"URL":"https://10.0.0.1:6443/clusters/2x7uq3bb1ndsxl4e","cluster":"2x7uq3bb1ndsxl4e","value":"v","type":{"name":"universal","path":"root"}},"status":{"conditions":[{"lastTransitionTime":"2026-03-01T09:30:00Z","status":"True","type":"WorkspaceScheduled"},{"lastTransitionTime":"2026-03-01T09:30:00Z","status":"True","type":"WorkspaceInitialized"}],"phase":"Ready"}}`
