package requestinfo

import "strings"

// Streaming says whether a request looks as if it asked for an answer without an
// end: a watch (the old form has it in the path), or logs that are followed. That is
// good enough to choose a connection by, and for nothing else: LongRunning is exact.
func Streaming(path, query string) bool {
	return isDeprecatedWatchPath(path) || Flag(query, "watch") || Flag(query, "follow")
}

// isDeprecatedWatchPath says whether a path has a watch in its old form.
func isDeprecatedWatchPath(path string) bool {
	if decoded, ok := decode(path); ok {
		path = decoded
	}
	return strings.Contains(path, "/watch/")
}
