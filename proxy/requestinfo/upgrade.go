package requestinfo

import (
	"errors"
	"net/http"
	"strings"
)

// upgrades are the protocols that a connection may be switched to. Any other,
// h2c above all, would be a tunnel in which requests pass unjudged.
var upgrades = []string{"websocket", "SPDY/3.1"}

// Upgrade says whether a request asks for an upgrade. The error, which the client may
// read, is that the upgrade it asks for is not served.
func Upgrade(r *http.Request) (bool, error) {
	values, ok := r.Header["Upgrade"]
	if !ok {
		return false, nil
	}
	if len(values) == 1 && r.ProtoMajor == 1 {
		for _, p := range upgrades {
			if strings.EqualFold(values[0], p) {
				return true, nil
			}
		}
	}
	return false, errUpgrade
}

var errUpgrade = errors.New("upgrade refused: only " + strings.Join(upgrades, " and ") + " are served, one at a time")
