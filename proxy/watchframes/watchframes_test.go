package watchframes

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restclientwatch "k8s.io/client-go/rest/watch"
)

func TestOf(t *testing.T) {
	const json, proto, table = "application/json", "application/vnd.kubernetes.protobuf", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	for name, tc := range map[string]struct {
		accept, media, encoding string
		want                    Framing
	}{
		"JSON":                      {json, json, "", JSON},
		"JSON with a charset":       {"", "application/json; charset=utf-8", "", JSON},
		"metadata only":             {"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", json, "", JSON},
		"Protobuf":                  {proto, proto + ";stream=watch", "", Protobuf},
		"Protobuf that is no watch": {proto, proto, "", Unknown},
		"a Table":                   {table, json, "", Unknown},
		"a Table in capitals":       {strings.ToUpper(table), json, "", Unknown},
		"compressed":                {json, json, "gzip", Unknown},
		"CBOR":                      {"application/cbor", "application/cbor-seq", "", Unknown},
		"text":                      {"", "text/plain", "", Unknown},
		"none":                      {"", "", "", Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(http.Header{"Accept": {"*/*", tc.accept}}, http.Header{"Content-Type": {tc.media}, "Content-Encoding": {tc.encoding}})
			if got != tc.want {
				t.Errorf("framing %d, want %d", got, tc.want)
			}
		})
	}
}

// bodyOf is a body with the given events.
func bodyOf(f Framing, events ...string) []byte {
	var body []byte
	for _, e := range events {
		if f == Protobuf {
			body = binary.BigEndian.AppendUint32(body, uint32(len(e)))
		}
		body = append(body, e...)
		if f == JSON {
			body = append(body, '\n')
		}
	}
	return body
}

// TestPositions: however a body is cut into pieces, the places between frames are found.
func TestPositions(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, f := range []Framing{JSON, Protobuf} {
		events := []string{`{"a":1}`, "", "0123", long, "end"}
		body := bodyOf(f, events...)
		ends := map[int]bool{0: true}
		for n := range events {
			ends[len(bodyOf(f, events[:n+1]...))] = true
		}
		for _, piece := range []int{1, 2, 3, 5, 7, 1000, 4096, len(body)} {
			p := At(f)
			for at := 0; at < len(body); at += piece {
				if p.BetweenFrames() != ends[at] {
					t.Fatalf("framing %d in pieces of %d: between frames at %d: %v", f, piece, at, p.BetweenFrames())
				}
				next := min(at+piece, len(body))
				rest := p
				n := rest.FinishFrame(body[at:next])
				want, found := next, false
				for end := at + 1; end <= next && !found; end++ {
					if ends[end] {
						want, found = end, true
					}
				}
				if at+n != want || rest.BetweenFrames() != found {
					t.Fatalf("framing %d in pieces of %d: from %d the frame goes to %d (%v), want %d (%v)", f, piece, at, at+n, rest.BetweenFrames(), want, found)
				}
				p.Advance(body[at:next])
			}
			if !p.BetweenFrames() {
				t.Errorf("framing %d in pieces of %d: its end is none", f, piece)
			}
		}
	}
	var p Position
	if p.Advance([]byte("\n")); p.BetweenFrames() {
		t.Error("an unknown framing has frames")
	}
}

// TestErrors: client-go reads the frames as the Status, after other events.
func TestErrors(t *testing.T) {
	want := metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired, Message: "list again"}
	frames, err := NewErrors(want)
	if err != nil {
		t.Fatal(err)
	}
	const line = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"list again","reason":"Expired","code":410}}` + "\n"
	if diff := cmp.Diff(line, string(frames[JSON])); diff != "" {
		t.Errorf("the line (-want +got):\n%s", diff)
	}
	for f, media := range map[Framing]string{JSON: runtime.ContentTypeJSON, Protobuf: runtime.ContentTypeProtobuf} {
		info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), media)
		if !ok {
			t.Fatalf("client-go does not know %s", media)
		}
		body := io.NopCloser(bytes.NewReader(bytes.Repeat(frames[f], 2)))
		decoder := scheme.Codecs.DecoderToVersion(info.Serializer, schema.GroupVersion{Version: "v1"})
		stream := streaming.NewDecoder(info.StreamSerializer.NewFrameReader(body), info.StreamSerializer.Serializer)
		d := restclientwatch.NewDecoder(stream, decoder)
		for range 2 {
			kind, object, err := d.Decode()
			if err != nil || kind != watch.Error {
				t.Fatalf("%s: %s, %v", media, kind, err)
			}
			got, ok := object.(*metav1.Status)
			if !ok {
				t.Fatalf("%s: it is a %T", media, object)
			}
			got.TypeMeta = metav1.TypeMeta{}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", media, diff)
			}
		}
	}
}
