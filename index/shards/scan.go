package shards

import "bytes"

// scanner traverses JSON text without decoding it. Its methods return false if the
// text ends, or if the part that they examine is not JSON. They never read beyond its
// end.
type scanner struct {
	in []byte
	at int
}

// peek returns the next byte that is not white space.
func (s *scanner) peek() (byte, bool) {
	for ; s.at < len(s.in); s.at++ {
		switch c := s.in[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, true
		}
	}
	return 0, false
}

// object traverses the next object. It calls each at every value, with the name in
// quotes; each must advance past the value. object stops if each returns false.
func (s *scanner) object(each func(key []byte) bool) bool {
	if c, ok := s.peek(); !ok || c != '{' {
		return false
	}
	s.at++
	for {
		key, more, ok := s.field()
		if !ok || !more {
			return ok
		}
		if !each(key) {
			return false
		}
	}
}

// field reads the next name in an object, with its quotes, up to its value. more is
// false at the end of the object.
func (s *scanner) field() (key []byte, more, ok bool) {
	for {
		switch c, ok := s.peek(); {
		case !ok:
			return nil, false, false
		case c == '}':
			s.at++
			return nil, false, true
		case c == ',':
			s.at++
		case c != '"':
			return nil, false, false
		default:
			if key, ok = s.key(); ok {
				_, ok = s.peek()
			}
			return key, true, ok
		}
	}
}

// key reads a name with its quotes, and the colon after it.
func (s *scanner) key() ([]byte, bool) {
	start := s.at
	if !s.text() {
		return nil, false
	}
	key := s.in[start:s.at]
	c, ok := s.peek()
	s.at++
	return key, ok && c == ':'
}

// skip advances past the next value.
func (s *scanner) skip() bool {
	switch s.in[s.at] {
	case '"':
		return s.text()
	case '{', '[':
		return s.nested()
	}
	start := s.at
	for ; s.at < len(s.in); s.at++ {
		switch s.in[s.at] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return s.at > start
		}
	}
	return s.at > start
}

// nested advances past the next object or array.
func (s *scanner) nested() bool {
	depth := 0
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case '"':
			if !s.text() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return true
		}
	}
	return false
}

// text advances past the next string.
func (s *scanner) text() bool {
	for i := s.at + 1; ; i++ {
		n := bytes.IndexByte(s.in[i:], '"')
		if n < 0 {
			return false
		}
		i += n
		escapes := 0
		for s.in[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			s.at = i + 1
			return true
		}
	}
}
