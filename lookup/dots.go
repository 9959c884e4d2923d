package lookup

import (
	"fmt"
	"strconv"
	"strings"
)

// maxEncoded is how many times a path may be percent-encoded.
const maxEncoded = 4

// Stays returns nil if an escaped path stays below the prefix that it follows,
// whichever server resolves its dot segments. For example, a server that resolves
// them reads "/a/../../b" behind "/base" as "/b". Dot segments that go up no further
// than the path went down are allowed. The error wraps ErrAmbiguous.
//
// Servers differ in how they read encoded slashes and backslashes (as separators or
// not), dots that are encoded once or several times, and dots before a semicolon.
// Stays assumes the reading that leads furthest up.
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

// Dotless returns an error that wraps ErrAmbiguous if an escaped path has a dot
// segment anywhere, in any of the readings that Stays considers.
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

// readings returns a segment unchanged and after each round of decoding.
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

// decodeOnce decodes the percent-encoded bytes in s and leaves the rest unchanged.
func decodeOnce(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if decoded, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(decoded))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// walk follows one reading of a segment. lowest is how far up it leads at most, end
// is where it ends: at most one step down, since another server reads it as one
// segment.
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

// dotSegment reports whether a server may take a piece for ".." (up), or for "." or
// nothing (dot). Some servers treat what follows a semicolon as parameters.
func dotSegment(piece string) (up, dot bool) {
	name, _, _ := strings.Cut(piece, ";")
	return name == "..", name == "." || name == ""
}
