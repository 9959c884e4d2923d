package proxy

import (
	"errors"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/otherstores"
	"frontproxy/proxy/requestinfo"
)

// Resource versions of two shards cannot be compared. So when a logical cluster has moved, what
// lists or watches from a version that only the old shard can have given out is 410 Expired, and
// its client lists again. Streams that are under way end by themselves (streammoves.go). Package
// otherstores knows the resources whose versions are neither shard's.

// listedVersionTimeout is how long a shard may take for the list that reports whether a
// resource is in another store.
const listedVersionTimeout = 5 * time.Second

// checkResourceVersion refuses to list or watch from a version of the shard from which the
// cluster came.
func (x *exchange) checkResourceVersion(r *http.Request) *metav1.Status {
	moves, d := x.p.streams.moves, &x.dest
	if moves == nil || d.Kind != destination.Shard || d.Target.Shard == nil {
		return nil
	}
	moved := moves.MovedAt(d.Target.Cluster, d.Target.Shard.Name)
	if moved == 0 {
		return nil
	}
	if v := requestinfo.ListedVersion(r.Method, d.APIPath, r.URL.RawQuery); v != 0 && v < moved {
		return x.refuseVersion(r, otherstores.Move{Shard: d.Target.Shard.Name, At: moved})
	}
	return nil
}

// refuseVersion answers a request that lists or watches from a version below m.At. Nil: the
// resource is in another store, and the request goes on.
func (x *exchange) refuseVersion(r *http.Request, m otherstores.Move) *metav1.Status {
	p, cluster := x.p, x.dest.Target.Cluster
	resource, list := requestinfo.Collection(x.dest.APIPath)
	if p.streams.otherStores.Has(cluster, m, resource) {
		return nil
	}
	if p.limit.most > 0 {
		places, status := p.limit.takePlaces(&x.dest)
		defer places.add(-1)
		if status != nil {
			return status
		}
	}
	question := otherstores.Question{Request: r, To: &x.dest, Rewrite: x.rewrite, Timeout: p.streams.listedVersionTimeout, ErrorLog: p.errorLog}
	version, ok := question.ListedVersion(list)
	if !ok || version >= m.At {
		return apistatus.ExpiredByMove()
	}
	p.streams.otherStores.Add(cluster, m, resource)
	p.config.Log.V(2).Info("Found a resource that the shard keeps in another store, with versions below the one at which the workspace had moved there",
		"cluster", cluster, "shard", m.Shard, "resource", resource, "version", version, "movedAt", m.At)
	return nil
}

// mustListAgain reports whether a request lists or watches, from some version, a cluster that
// two shards claim; d and err are what Resolve has returned. It cannot be served now, and once
// the cluster has settled its version may be any other of the new shard. So the client is
// asked to list again now, while it is certain that it must.
func (ss *streamSupervisor) mustListAgain(r *http.Request, d *destination.Destination, err error) bool {
	return err != nil && ss.moves != nil && d.Kind == destination.Shard && d.Target.Cluster != "" && errors.Is(err, index.ErrConflict) &&
		requestinfo.ListedVersion(r.Method, d.APIPath, r.URL.RawQuery) != 0
}
