package requestinfo

import (
	"errors"
	"net/http"
)

// CheckFraming returns an error, which the client may read, for a request that says
// twice how long it is. HTTP/1.1 ones do not get this far; net/http's HTTP/2 takes the
// first and goes on (RFC 9113, section 8.1.1 calls it malformed).
func CheckFraming(r *http.Request) error {
	if len(r.Header["Content-Length"]) > 1 {
		return errTwoLengths
	}
	return nil
}

var errTwoLengths = errors.New("the request has more than one content-length")
