package jwt

import (
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
)

const (
	// mappingCacheBytes bounds what one configuration's entry remembers of its
	// expressions' outcomes.
	mappingCacheBytes = 256 << 10
	// ownersMappingBytes bounds what all entries of an owner remember together, allMappingBytes what
	// those of all owners do; once that is used up, each owner still has mappingCacheBytes.
	ownersMappingBytes, allMappingBytes = 2 << 20, 64 << 20
	// maxNesting is how deep claims may be nested where expressions read them.
	maxNesting = 64
)

// mapping is what a configuration's expressions made of a payload. Immutable; so
// is the user, which requests share.
type mapping struct {
	user   user.Info
	err    error
	expiry time.Time
}

// size is about the memory that it takes, in bytes.
func (m mapping) size() (n int) {
	if m.user != nil {
		n += identity.KeptBytes(m.user)
	}
	if m.err != nil {
		n += len(m.err.Error())
	}
	return n
}

// checkNesting refuses claims that are nested so deep that decoding them takes a
// large stack. It reads valid JSON once.
func checkNesting(payload []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return fmt.Errorf("the token's claims are nested more than %d deep, which expressions do not read", maxNesting)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}
