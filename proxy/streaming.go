package proxy

import (
	"net/url"
	"strings"

	"frontproxy/proxy/requestinfo"
)

// isStreaming says whether a request looks as if it asked for an answer without an
// end: a watch (the old form has it in the path), or logs that are followed. It
// chooses connections by that, and nothing else: requestinfo.LongRunning is exact.
func isStreaming(path, query string) bool {
	return isDeprecatedWatchPath(path) || requestinfo.Flag(query, "watch") || requestinfo.Flag(query, "follow")
}

// isDeprecatedWatchPath says whether a path has a watch in its old form.
func isDeprecatedWatchPath(path string) bool {
	if strings.IndexByte(path, '%') >= 0 {
		if decoded, err := url.PathUnescape(path); err == nil {
			path = decoded
		}
	}
	return strings.Contains(path, "/watch/")
}
