package proxy

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/lookup"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
)

// locate finds out whether the request can be read in one way only, whether it asks
// for an upgrade, and where it goes. With a Status that answers it, there is as much
// as was found out before.
func (p *Proxy) locate(r *http.Request) (upgrade bool, to destination.Destination, status *metav1.Status) {
	to.APIPath = r.URL.Path
	path, err := lookup.RawPath(r)
	if err != nil {
		return false, to, apistatus.ForLookup(err, r)
	}
	if err = requestinfo.CheckFraming(r); err != nil {
		return false, to, apistatus.BadRequest("%v", err)
	}
	if upgrade, err = requestinfo.Upgrade(r); err != nil {
		return false, to, apistatus.BadRequest("%v", err)
	}
	to, err = p.router.Resolve(r, path)
	if p.expiresInConflict(r, &to, err) {
		return upgrade, to, expiredByMove()
	}
	if err != nil {
		return upgrade, to, apistatus.ForDestination(err, r)
	}
	return upgrade, to, nil
}
