package shards

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	firstFrame = 16 << 10
	maxFrame   = 64 << 20
)

// frames cuts a stream into its JSON objects without decoding them: an object is a
// balanced pair of braces.
type frames struct {
	r   io.Reader
	buf []byte
	// buf[from:to] is the object returned last, buf[to:] has been read but not
	// returned.
	from, to int
}

// next returns the next object, valid until the following call. It returns io.EOF if
// the stream ends between two objects, io.ErrUnexpectedEOF if it ends within one.
func (f *frames) next() ([]byte, error) {
	f.from = f.to
	var s frameScan
	for at := f.from; ; {
		n, err := s.scan(f.buf[at:])
		if err != nil {
			return nil, err
		}
		at += n
		if s.done {
			f.to = at
			return bytes.TrimLeft(f.buf[f.from:f.to], " \t\r\n"), nil
		}
		if s.depth == 0 {
			f.from = at // white space
		}
		moved, err := f.read()
		at -= moved
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && s.depth > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// read reads more data after the unread data. moved is by how much it moved that data
// to the front.
func (f *frames) read() (moved int, err error) {
	if len(f.buf) == cap(f.buf) {
		held := f.buf[f.from:]
		if len(held) >= maxFrame {
			return 0, fmt.Errorf("an object of more than %d bytes", maxFrame)
		}
		buf := f.buf[:0]
		if len(held) > cap(f.buf)/2 || cap(f.buf) == 0 {
			buf = make([]byte, 0, max(firstFrame, 2*len(held)))
		}
		f.buf, moved = append(buf, held...), f.from
		f.from = 0
	}
	n, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		err = nil // the next read returns it again
	}
	return moved, err
}

// frameScan finds the end of an object.
type frameScan struct {
	depth           int
	quoted, escaped bool
	done            bool
}

var errNoObject = errors.New("the stream contains something other than a JSON object")

// scan continues in b and returns how much of it it has consumed: all of it, or up to
// the end of the object.
func (s *frameScan) scan(b []byte) (int, error) {
	for i, c := range b {
		switch {
		case s.escaped:
			s.escaped = false
		case s.quoted:
			s.escaped = c == '\\'
			s.quoted = c != '"'
		case c == '"' && s.depth > 0:
			s.quoted = true
		case c == '{' || c == '[' && s.depth > 0:
			s.depth++
		case s.depth == 0:
			if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
				return i, errNoObject
			}
		case c == '}' || c == ']':
			if s.depth--; s.depth == 0 {
				s.done = true
				return i + 1, nil
			}
		}
	}
	return len(b), nil
}
