// Package clip shortens untrusted text so that it can be stored. It must not know where a text
// comes from or goes, and it redacts nothing.
package clip

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ellipsis replaces what was cut off.
const ellipsis = "…"

// Clone returns a copy of s that shares no memory with it. It cuts a text longer than
// n bytes after the last whole character within them and appends "…". Whatever
// outlives a request must use such copies: a substring would keep the whole original
// in memory, for example a request line of a megabyte for a short path.
func Clone(s string, n int) string {
	if len(s) <= n {
		return strings.Clone(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}

// Quoted returns the beginning of a list of texts, each in quotes: at most 16 of them and
// about 300 bytes.
func Quoted(list []string) string {
	const shown, bytes = 16, 300
	return Clone(fmt.Sprintf("%q", list[:min(len(list), shown)]), bytes)
}
