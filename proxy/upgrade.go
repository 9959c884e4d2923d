package proxy

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
)

// upgrades are the protocols that a connection may be switched to. Any other,
// h2c above all, would be a tunnel in which requests pass unjudged.
var upgrades = []string{"websocket", "SPDY/3.1"}

// checkUpgrade returns nil for requests that ask for no upgrade or for one
// that is served, and says whether they ask.
func checkUpgrade(r *http.Request) (bool, *metav1.Status) {
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
	return false, apistatus.BadRequest("upgrade refused: only %s are served, one at a time", strings.Join(upgrades, " and "))
}
