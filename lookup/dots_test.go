package lookup

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestStays(t *testing.T) {
	for rest, stays := range map[string]bool{
		"": true, "/": true, "/api": true, "/a/..": true, "/a/../b": true, "/a/./../b/..": true, "/...": true, "/.a": true, "/a%2Fb/..": true, "/%2e": true, "/a%": true, "/%zz": true,
		"/a%2F..": true, "/a%2F../": true, "/a/b/..%2f..": true, "/100%25": true, "/a%2520b": true, `/a\..`: true, "/a//../": true, "/ü/..": true,
		"/..": false, "/../team-b/api": false, "/%2e%2e/b": false, "/%2E./b": false, "/..%2fb": false, "/..%2Fb": false, `/..\b`: false, "/..%5cb": false, "/%252e%252e/b": false,
		"/%252e%252e%252fb": false, "/%25252e.": false, "/..;x/b": false, "/..%3Bx/b": false, "/a/../..": false, "/./..": false, "//..": false, "/a%2Fb/../..": false,
		`/a\b/../..`: false, `/a\b%2F..%2F..`: false, "/a/..%2f..%2f": false, "/.;/..": false, "/%25252525252e": false, "/%25%32%65%25%32%65/b": false,
	} {
		if err := Stays(rest); errors.Is(err, ErrAmbiguous) == stays {
			t.Errorf("Stays(%q) = %v, want %v", rest, err, stays)
		}
	}
}

func TestDotless(t *testing.T) {
	for rest, dotless := range map[string]bool{
		"": true, "/": true, "/a/b%2Fc": true, "/...": true, "/a.": true, "/.a": true, "/a%2Eb": true,
		"/a/..": false, "/a/.": false, "/a%2F..": false, "/a/%2e": false, "/a/%252e%252e": false, `/a\..`: false, "/a/..;": false,
	} {
		if err := Dotless(rest); errors.Is(err, ErrAmbiguous) == dotless {
			t.Errorf("Dotless(%q) = %v, want %v", rest, err, dotless)
		}
	}
}

// FuzzStays holds Stays against what servers of several kinds make of a path.
func FuzzStays(f *testing.F) {
	for _, s := range []string{"/a/../b", "/a%2F..//b", `/..\b`, "/%252e%252e/", "/..;x/b", "/a/b/..%2f..", `/a\b%2F..%2F..`, "//../..", "/.;/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		if !strings.HasPrefix(rest, "/") || Stays(rest) != nil {
			return
		}
		text := rest
		for range maxEncoded + 1 {
			for _, read := range []func(string) string{
				func(s string) string { return s },
				func(s string) string { return strings.ReplaceAll(s, `\`, "/") },
				func(s string) string { return withoutParameters(s) },
				func(s string) string { return withoutParameters(strings.ReplaceAll(s, `\`, "/")) },
			} {
				if got := path.Clean("/x/base" + read(text)); got != "/x/base" && !strings.HasPrefix(got, "/x/base/") {
					t.Fatalf("Stays(%q), but a server may read %q", rest, got)
				}
			}
			text = decodeOnce(text)
		}
	})
}

// withoutParameters is a path as servers of servlets read it.
func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}
