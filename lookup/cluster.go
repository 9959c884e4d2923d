package lookup

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotACluster means that a cluster segment cannot name a logical cluster: it is
// not a valid path, or it is one that the proxy serves to nobody ("*" below
// /clusters/, "system:…"). The response is that for an unknown cluster (403).
var ErrNotACluster = errors.New("not a logical cluster path")

// Wildcard means all logical clusters.
const Wildcard = "*"

// DecodeCluster decodes a cluster segment of an escaped path. The only escapes that it
// accepts are %3A, and %2A if it is the whole segment (client-go spells the wildcard
// "*" in this way). No other character of a cluster path needs an escape, so any
// other escape is an attempt to be read in two ways (ErrAmbiguous). DecodeCluster does not
// check that the result is a valid path; see ValidateClusterPath.
func DecodeCluster(segment string) (string, error) {
	if _, err := DecodeSegment(segment); err != nil {
		return "", err
	}
	if strings.IndexByte(segment, '%') < 0 {
		return segment, nil
	}
	if strings.EqualFold(segment, "%2A") {
		return Wildcard, nil
	}
	decoded := strings.ReplaceAll(strings.ReplaceAll(segment, "%3A", ":"), "%3a", ":")
	if strings.IndexByte(decoded, '%') >= 0 {
		return "", fmt.Errorf("%w: percent-encoding in the cluster", ErrAmbiguous)
	}
	return decoded, nil
}

// maxWord is the longest name in a cluster path: a DNS label.
const maxWord = 63

// ValidateClusterPath returns nil if cluster can name one logical cluster: DNS labels
// with colons between them (logicalcluster.Path.IsValid), not the wildcard, and
// nothing below "system:". Otherwise it returns ErrNotACluster.
func ValidateClusterPath(cluster string) error {
	if strings.HasPrefix(cluster, "system:") {
		return ErrNotACluster
	}
	start := 0
	for i := 0; i <= len(cluster); i++ {
		if i < len(cluster) && cluster[i] != ':' {
			if c := cluster[i]; c != '-' && !alphanumeric(c) {
				return ErrNotACluster
			}
			continue
		}
		word := cluster[start:i]
		if word == "" || len(word) > maxWord || word[0] == '-' || word[len(word)-1] == '-' {
			return ErrNotACluster
		}
		start = i + 1
	}
	return nil
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
