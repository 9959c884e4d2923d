package requestinfo

import (
	"strconv"

	"k8s.io/apiserver/pkg/storage"
)

// maxContinue bounds the continue tokens that are read; apiserver's are shorter, unless a
// tenant chose very long names.
const maxContinue = 4 << 10

// ListedVersion is the resource version from which a request to list or watch a collection
// continues: its continue token's, if it has one, else its resourceVersion. It is 0
// when the request is none of these or names no version, and for the versions "" and "0",
// with which any state will do. What no API server would take for a version is 0, too.
//
// The path is what follows the logical cluster, still escaped; query is the raw one.
func ListedVersion(method, path, query string) uint64 {
	if query == "" {
		return 0
	}
	if info := Of(method, path, query); !info.IsResourceRequest || info.Verb != "list" && info.Verb != "watch" {
		return 0
	}
	if token := First(query, "continue"); token != "" {
		return continuedVersion(token)
	}
	version, err := strconv.ParseUint(First(query, "resourceVersion"), 10, 64)
	if err != nil {
		return 0
	}
	return version
}

// continuedVersion is the version in a continue token.
func continuedVersion(token string) uint64 {
	if len(token) > maxContinue {
		return 0
	}
	_, version, err := storage.DecodeContinue(token, "")
	if err != nil || version < 0 {
		return 0 // -1 means that any state will do
	}
	return uint64(version)
}
