// Package forwardingregistry has what kcp v0.32 calls in the package of this
// name of github.com/kcp-dev/virtual-workspace-framework and its newest
// published version, v0.31.2, lacks. `make` puts this file there, in a copy.
package forwardingregistry

import "k8s.io/apimachinery/pkg/api/validate/content"

// ValidatePathSegmentName returns what makes a name, or a prefix of names,
// unfit for a segment of a path.
func ValidatePathSegmentName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
