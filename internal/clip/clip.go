// Package clip bounds texts that others chose, so that they can be kept.
package clip

import (
	"strings"
	"unicode/utf8"
)

// ellipsis stands for what was cut off.
const ellipsis = "…"

// Clone returns a copy of s that shares no memory with it. A text longer than n
// bytes is cut after the last whole character within them, and ends with "…".
// What outlives a request keeps such copies only: a substring would keep all of
// the text that it was cut from, a request line of a megabyte for a short path.
func Clone(s string, n int) string {
	if len(s) <= n {
		return strings.Clone(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
