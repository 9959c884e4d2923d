package shards

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// TestEvent: an event's object is taken as it is.
func TestEvent(t *testing.T) {
	for in, want := range map[string]event{
		`{"type":"BOOKMARK","object":{"kind":"X","metadata":{"resourceVersion":"7","uid":"u","annotations":{"k8s.io/initial-events-end":"true"}}}}`: {"BOOKMARK", []byte(`{"kind":"X","metadata":{"resourceVersion":"7","uid":"u","annotations":{"k8s.io/initial-events-end":"true"}}}`)},
		`{"object":{"kind":"Status","code":410,"reason":"Expired","message":"old","status":"Failure"},"type":"ERROR"}`:                              {"ERROR", []byte(`{"kind":"Status","code":410,"reason":"Expired","message":"old","status":"Failure"}`)},
		` { "type" : "ADDED" , "more":[{"type":"ERROR"}], "object" : {"metadata":{"name":"n"},"spec":{"value":"v","more":1}} } `:                    {"ADDED", []byte(`{"metadata":{"name":"n"},"spec":{"value":"v","more":1}}`)},
		`{"type":"DELETED","type":"MODIFIED","object":{"spec":{"value":"a"}},"object":{}}`:                                                          {"MODIFIED", []byte(`{}`)},
		`{"type":"PATCHED","object":null}`: {"", []byte(`null`)},
		`{"type":7}`:                       {},
		`{}`:                               {},
	} {
		e := event{"DELETED", []byte("the one before")}
		if err := e.read([]byte(in)); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, e, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{``, `[]`, `{`, `{"type"`, `{"type":}`, `{"object":}`, `{"type":"ADDED","object":{"spec"`, `{1:2}`} {
		if err := new(event).read([]byte(in)); err == nil {
			t.Errorf("%s is taken for an event", in)
		}
	}
}

// FuzzEvent: events are read as the decoder reads them.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{`{"type":"ADDED","object":{"spec":{"value":"v"}}}`, `{"object":null,"type":"ERROR"}`, `{"type":"ADDED","type":"DELETED"}`, `{"typ\u0065":"ADDED"}`, `{"a":"\`, `{} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var got event
		err := got.read(in)
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
