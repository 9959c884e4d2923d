// Package watchframes knows how a Kubernetes API server cuts the events of a watch, so that
// an event of our own can be put between two of them.
//
// It knows nothing of connections, and of requests only what says how their watches are cut.
package watchframes

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// Framing is how the events of a watch are cut.
type Framing uint8

// Framings.
const (
	// Unknown: nothing can be put between two events.
	Unknown Framing = iota
	// JSON: each event is a line.
	JSON
	// Protobuf: each event follows its length in four bytes.
	Protobuf
)

// Of returns the framing of the answer to a watch, by the headers of both. It is Unknown for
// compressed answers, for other media types, such as CBOR, and for Tables, whose readers expect
// a Table in every event.
func Of(request, answer http.Header) Framing {
	if answer.Get("Content-Encoding") != "" {
		return Unknown
	}
	for _, accept := range request["Accept"] {
		if strings.Contains(strings.ToLower(accept), "as=table") {
			return Unknown
		}
	}
	media, parameters, err := mime.ParseMediaType(answer.Get("Content-Type"))
	switch {
	case err != nil:
		return Unknown
	case media == runtime.ContentTypeJSON:
		return JSON
	case media == runtime.ContentTypeProtobuf && parameters["stream"] == "watch":
		return Protobuf
	}
	return Unknown
}

// prefix is how many bytes the length of a Protobuf frame has.
const prefix = 4

// Position is a place in the body of a watch. The zero Position has an unknown framing; At
// returns the beginning of a body.
type Position struct {
	framing Framing
	// head is how many bytes of a frame's length have been passed, and length what they
	// say; left is how many bytes of the frame are left after the length. For JSON, left
	// is 1 within a line, else 0.
	head         uint8
	length, left uint32
}

// At returns the beginning of a body with the given framing.
func At(f Framing) Position { return Position{framing: f} }

// Framing returns the body's framing.
func (p *Position) Framing() Framing { return p.framing }

// BetweenFrames reports whether a frame may begin here. It is never true of an unknown framing.
func (p *Position) BetweenFrames() bool { return p.framing != Unknown && p.head == 0 && p.left == 0 }

// Advance moves p past data, which is what follows.
func (p *Position) Advance(data []byte) {
	switch p.framing {
	case JSON:
		if len(data) > 0 {
			p.left = 1
			if data[len(data)-1] == '\n' {
				p.left = 0
			}
		}
	case Protobuf:
		for len(data) > 0 {
			data = data[p.step(data):]
		}
	case Unknown:
	}
}

// FinishFrame moves p past what data has of the frame within which p is, and returns how much
// that is.
func (p *Position) FinishFrame(data []byte) (n int) {
	switch p.framing {
	case JSON:
		if n = bytes.IndexByte(data, '\n') + 1; n == 0 {
			n = len(data)
		}
		p.Advance(data[:n])
	case Protobuf:
		for n < len(data) && (n == 0 || !p.BetweenFrames()) {
			n += p.step(data[n:])
		}
	case Unknown:
		n = len(data)
	}
	return n
}

// step moves p past a byte of a frame's length, or past what data has of a frame after its
// length, and returns how much that is.
func (p *Position) step(data []byte) int {
	if p.left > 0 {
		n := min(len(data), int(p.left))
		p.left -= uint32(n) //nolint:gosec // at most left
		return n
	}
	p.length = p.length<<8 | uint32(data[0])
	if p.head++; p.head == prefix {
		p.head, p.left, p.length = 0, p.length, 0
	}
	return 1
}

// Errors are the frames of one ERROR event, by framing. An unknown framing has none.
type Errors map[Framing][]byte

// NewErrors returns the frames of an ERROR event with the given Status, as kube-apiserver
// writes them.
func NewErrors(s metav1.Status) (Errors, error) {
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	line, err := json.Marshal(&s)
	if err != nil {
		return nil, fmt.Errorf("encode a Status: %w", err)
	}
	if line, err = json.Marshal(&metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: line}}); err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	var object bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(&s, &object); err != nil {
		return nil, fmt.Errorf("encode a Status: %w", err)
	}
	event, err := (&metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: object.Bytes()}}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(event))) //nolint:gosec // a few hundred bytes
	return Errors{JSON: append(line, '\n'), Protobuf: append(frame, event...)}, nil
}
