package lookup

import (
	"fmt"
	"strings"
)

// maxEncoded is how many times over a path may be percent-encoded.
const maxEncoded = 4

// Stays says whether an escaped path stays below what it follows, whoever resolves
// its dot segments: a server that does so reads "/a/../../b" behind "/base" as
// "/b". What goes up no further than it went down is nobody's business here. The
// error wraps ErrAmbiguous.
//
// Of everything that servers are known to read in their own way the reading counts
// that leads furthest up: encoded slashes and backslashes as separators or not,
// dots that are encoded, once or several times over, dots before a semicolon.
func Stays(path string) error {
	if !mayHaveDots(path) {
		return nil
	}
	depth := 0
	for path != "" {
		var segment string
		segment, path = Segment(path)
		all, err := readings(segment)
		if err != nil {
			return err
		}
		lowest, end := 0, 1
		for _, reading := range all {
			l, e := walk(reading)
			lowest, end = min(lowest, l), min(end, e)
		}
		if depth+lowest < 0 {
			return errDots
		}
		depth += end
	}
	return nil
}

// Dotless fails, with ErrAmbiguous, when an escaped path has a dot segment anywhere,
// in any of the readings that Stays knows.
func Dotless(path string) error {
	if !mayHaveDots(path) {
		return nil
	}
	for path != "" {
		var segment string
		segment, path = Segment(path)
		all, err := readings(segment)
		if err != nil {
			return err
		}
		for _, reading := range all {
			for piece := range strings.FieldsFuncSeq(reading, separator) {
				if up, dots := dotSegment(piece); up || dots {
					return errDots
				}
			}
		}
	}
	return nil
}

var errDots = fmt.Errorf("%w: dot segment", ErrAmbiguous)

func separator(r rune) bool { return r == '/' || r == '\\' }

// mayHaveDots is false for nearly all paths.
func mayHaveDots(path string) bool {
	return strings.Contains(path, "/.") || strings.IndexByte(path, '%') >= 0 || strings.IndexByte(path, '\\') >= 0
}

// readings are a segment as it is, and as it is each time it is decoded.
func readings(segment string) ([]string, error) {
	all := []string{segment}
	for range maxEncoded {
		decoded := decodeOnce(segment)
		if decoded == segment {
			return all, nil
		}
		segment = decoded
		all = append(all, segment)
	}
	if decodeOnce(segment) != segment {
		return nil, fmt.Errorf("%w: percent-encoded more than %d times over", ErrAmbiguous, maxEncoded)
	}
	return all, nil
}

// decodeOnce decodes what is percent-encoded in s, and leaves the rest as it is.
func decodeOnce(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low)) //nolint:gosec // two digits
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", lower(c)) }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// walk follows one reading of a segment: how far up it leads at its lowest, and
// where it ends, at most one step down, since to another reader it is one segment.
func walk(reading string) (lowest, end int) {
	for part := range strings.SplitSeq(reading, "/") {
		low, at := 0, 0
		for piece := range strings.SplitSeq(part, `\`) {
			switch up, dot := dotSegment(piece); {
			case up:
				at--
			case !dot:
				at++
			}
			low = min(low, at)
		}
		lowest = min(lowest, end+low)
		end += min(at, 1)
	}
	return lowest, min(end, 1)
}

// dotSegment says whether a server may take a piece for ".." or, dot, for "." or for
// nothing. What follows a semicolon is parameters to some.
func dotSegment(piece string) (up, dot bool) {
	name, _, _ := strings.Cut(piece, ";")
	return name == "..", name == "." || name == ""
}
