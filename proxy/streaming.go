package proxy

import (
	"net/url"
	"strings"
)

// streams says whether a request asks for an answer without an end: a watch
// (the old form has it in the path), or logs that are followed. It reads path
// and query, both still escaped, as an API server does: who could spell a watch in
// a way that only the server takes for one would keep it beyond a drain and
// beyond the end of what admitted it.
func streams(path, query string) bool {
	return oldWatch(path) || asks(query, "watch") || asks(query, "follow")
}

// oldWatch says whether a path has a watch in its old form.
func oldWatch(path string) bool {
	if strings.IndexByte(path, '%') >= 0 {
		if decoded, err := url.PathUnescape(path); err == nil {
			path = decoded
		}
	}
	return strings.Contains(path, "/watch/")
}

// asks says whether a query sets a flag, as apimachinery reads it
// (Convert_Slice_string_To_bool): its first value counts, any but "0" and
// "false", none included. Pairs that url.ParseQuery leaves out are left out.
func asks(query, flag string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if strings.IndexByte(pair, ';') >= 0 || len(key) < len(flag) {
			continue
		}
		if strings.IndexByte(pair, '%') >= 0 {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				continue
			}
			if value, err = url.QueryUnescape(value); err != nil {
				continue
			}
		}
		if key == flag {
			return value != "0" && !strings.EqualFold(value, "false")
		}
	}
	return false
}
