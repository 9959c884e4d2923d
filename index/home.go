package index

import (
	"crypto/sha256"
	"strconv"
)

// A home cluster's name encodes 8 bytes: at most 13 digits, and at least one digit
// for each byte.
const minHomeLen, maxHomeLen = 8, 13

// homeCluster appends the name of a user's home logical cluster to buf: the
// first 8 bytes of SHA-224(user), as a number in base 36 after one "0" for each
// leading zero byte (which is how kcp spells it).
func homeCluster(buf []byte, user string) []byte {
	var in [256]byte // keeps typical names off the heap
	sum := sha256.Sum224(append(in[:0], user...))
	var n uint64
	zeros := true
	for _, b := range sum[:8] {
		if zeros = zeros && b == 0; zeros {
			buf = append(buf, '0')
		}
		n = n<<8 | uint64(b)
	}
	if n == 0 {
		return buf
	}
	return strconv.AppendUint(buf, n, 36)
}

// homeShaped reports whether a logical cluster's name could be a home workspace's, and is not
// one that kcp gives to other workspaces.
func homeShaped(name string) bool {
	if len(name) < minHomeLen || len(name) > maxHomeLen {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
