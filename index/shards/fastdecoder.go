package shards

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"
)

// fastDecoder decodes what slim structs mostly contain and API servers mostly send:
// objects, and strings without escapes. It skips the nine tenths of a kcp object that
// the index does not need (managedFields, conditions) in a tenth of the time that
// decoding takes. It leaves everything else to the JSON decoder; what it does decode,
// it decodes to the same result.
type fastDecoder struct {
	// fields has the fields by their names as written.
	fields map[string]fastField
}

// fastField is a field of a struct: a string, a struct, or a pointer to either.
type fastField struct {
	index int
	plain *fastDecoder // nil: a string, or a value that is left to the JSON decoder
}

// newFastDecoder returns a decoder for structs of type t. It leaves other types, and
// fields of other kinds, to the JSON decoder.
func newFastDecoder(t reflect.Type) *fastDecoder {
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler) {
		return &fastDecoder{}
	}
	p := &fastDecoder{fields: map[string]fastField{}}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			return &fastDecoder{} // none of our structs embeds one, so the rules for it are left out
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		field := fastField{index: i}
		if inner.Kind() == reflect.Struct {
			field.plain = newFastDecoder(inner)
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p.fields[cmp.Or(name, f.Name)] = field
	}
	return p
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode sets v to the fields that raw, an object, has of it. False means that the
// JSON decoder must decode raw; v is then undefined.
func (p *fastDecoder) decode(raw []byte, v reflect.Value) bool {
	s := scanner{in: raw}
	if !p.object(&s, v) {
		return false
	}
	_, more := s.peek()
	return !more
}

func (p *fastDecoder) object(s *scanner, v reflect.Value) bool {
	return p.fields != nil && s.object(func(key []byte) bool {
		if bytes.IndexByte(key, '\\') >= 0 {
			return false // it may be a field's name
		}
		f, wanted := p.fields[string(key[1:len(key)-1])]
		if !wanted {
			return s.skip()
		}
		return f.value(s, v.Field(f.index))
	})
}

func (f *fastField) value(s *scanner, v reflect.Value) bool {
	if v.Kind() == reflect.Pointer {
		if s.in[s.at] == 'n' { // null, which is rare
			return false
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch {
	case f.plain != nil:
		return f.plain.object(s, v)
	case v.Kind() != reflect.String || s.in[s.at] != '"':
		return false
	}
	start := s.at + 1
	if !s.text() {
		return false
	}
	text := s.in[start : s.at-1]
	for _, c := range text {
		if c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			return false
		}
	}
	v.SetString(string(text))
	return true
}
