package shards

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
)

// shape is which parts of a JSON object a slim struct reads. Nine tenths of an
// object that kcp sends are of no use here (managedFields, conditions); cutting
// them away in one pass costs a fraction of what decoding costs.
type shape struct {
	// fields by their names as they are written; nil: the value is kept whole.
	fields map[string]*shape
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// shapeOf returns what decoding reads into a value of type t.
func shapeOf(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer && !t.Implements(unmarshaler) {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) {
		return &shape{}
	}
	s := &shape{fields: map[string]*shape{}}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			return &shape{} // none of ours has one; its rules are not worth repeating
		case name == "":
			name = f.Name
		}
		s.fields[name] = shapeOf(f.Type)
	}
	return s
}

// and returns a shape that keeps what either keeps.
func (s *shape) and(other *shape) *shape {
	if s.fields == nil || other.fields == nil {
		return &shape{}
	}
	both := &shape{fields: map[string]*shape{}}
	for name, f := range s.fields {
		both.fields[name] = f
	}
	for name, f := range other.fields {
		if mine, ok := both.fields[name]; ok {
			f = mine.and(f)
		}
		both.fields[name] = f
	}
	return both
}

// trim appends raw to out without what s does not keep. What decodes, decodes to
// the same afterwards. Text that is no JSON is returned as it is, or cut, but is
// never read beyond its end.
func (s *shape) trim(out, raw []byte) []byte {
	t := trimmer{in: raw, out: out}
	if !t.value(s) {
		return append(out, raw...)
	}
	return t.out
}

var errNoEvent = errors.New("the watch has a frame that is no event")

// read sets e to the event that a frame of a watch is, and its object to what
// keeps keeps of it. The object is not looked at otherwise: who decodes it does.
// As everywhere in JSON's decoding, the last of several counts.
func (e *event) read(frame []byte, keeps *shape) error {
	e.Type, e.Object = "", e.Object[:0]
	t := trimmer{in: frame}
	c, ok := t.peek()
	if !ok || c != '{' {
		return errNoEvent
	}
	t.at++
	for {
		key, more, ok := t.field()
		if !ok {
			return errNoEvent
		}
		if !more {
			return nil
		}
		if string(key) == `"object"` {
			t.out = e.Object[:0]
			if ok = t.value(keeps); ok {
				e.Object = t.out
			}
		} else {
			start := t.at
			if ok = t.skip(); ok && string(key) == `"type"` {
				e.setType(frame[start:t.at])
			}
		}
		if !ok {
			return errNoEvent
		}
	}
}

// setType takes a type as it is quoted; no type that is known has an escape.
func (e *event) setType(quoted []byte) {
	e.Type = ""
	for _, known := range [...]string{"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"} {
		if n := len(quoted) - 1; n > 0 && quoted[0] == '"' && string(quoted[1:n]) == known {
			e.Type = known
		}
	}
}

// trimmer copies parts of in to out. Its methods report false at the end of in.
type trimmer struct {
	in, out []byte
	at      int
}

// peek returns the next byte that is no white space.
func (t *trimmer) peek() (byte, bool) {
	for ; t.at < len(t.in); t.at++ {
		switch c := t.in[t.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, true
		}
	}
	return 0, false
}

// value copies the value at hand, an object only as far as s keeps it.
func (t *trimmer) value(s *shape) bool {
	c, ok := t.peek()
	if !ok {
		return false
	}
	if c == '{' && s.fields != nil {
		return t.object(s)
	}
	start := t.at
	if !t.skip() {
		return false
	}
	t.out = append(t.out, t.in[start:t.at]...)
	return true
}

func (t *trimmer) object(s *shape) bool {
	t.at++
	t.out = append(t.out, '{')
	for first := true; ; {
		key, more, ok := t.field()
		switch {
		case !ok:
			return false
		case !more:
			t.out = append(t.out, '}')
			return true
		}
		kept := s.fields[string(key[1:len(key)-1])]
		if bytes.IndexByte(key, '\\') >= 0 {
			kept = &shape{} // it may be a field's name: the decoder knows
		}
		if kept == nil {
			if !t.skip() {
				return false
			}
			continue
		}
		if !first {
			t.out = append(t.out, ',')
		}
		first = false
		t.out = append(append(t.out, key...), ':')
		if !t.value(kept) {
			return false
		}
	}
}

// field reads the next name in an object, with its quotes, up to its value; no
// more: the object's end.
func (t *trimmer) field() (key []byte, more, ok bool) {
	for {
		switch c, ok := t.peek(); {
		case !ok:
			return nil, false, false
		case c == '}':
			t.at++
			return nil, false, true
		case c == ',':
			t.at++
		case c != '"':
			return nil, false, false
		default:
			if key, ok = t.key(); ok {
				_, ok = t.peek()
			}
			return key, true, ok
		}
	}
}

// key reads a name with its quotes, and the colon after it.
func (t *trimmer) key() ([]byte, bool) {
	start := t.at
	if !t.text() {
		return nil, false
	}
	key := t.in[start:t.at]
	c, ok := t.peek()
	t.at++
	return key, ok && c == ':'
}

// skip goes behind the value at hand.
func (t *trimmer) skip() bool {
	switch t.in[t.at] {
	case '"':
		return t.text()
	case '{', '[':
		return t.nested()
	}
	start := t.at
	for ; t.at < len(t.in); t.at++ {
		switch t.in[t.at] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return t.at > start
		}
	}
	return t.at > start
}

// nested goes behind the object or array at hand.
func (t *trimmer) nested() bool {
	depth := 0
	for t.at < len(t.in) {
		switch t.in[t.at] {
		case '"':
			if !t.text() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		t.at++
		if depth == 0 {
			return true
		}
	}
	return false
}

// text goes behind the string at hand.
func (t *trimmer) text() bool {
	for i := t.at + 1; ; i++ {
		n := bytes.IndexByte(t.in[i:], '"')
		if n < 0 {
			return false
		}
		i += n
		escapes := 0
		for t.in[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			t.at = i + 1
			return true
		}
	}
}
