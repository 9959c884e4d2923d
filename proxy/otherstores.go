package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/internal/bytecache"
	"frontproxy/proxy/requestinfo"
)

// Some resources of a cluster are not in its shard's own storage: virtual resources, and
// those of --etcd-servers-overrides. Their versions are not the shard's. They may stay below
// MovedAt for as long as the cluster exists, and a client that got 410 for such a version
// would list again, get such a version again, and so on.
//
// So before a version is refused, the shard is asked for the list that the client would get
// if it listed again (listedAnew). If the version of that list is below MovedAt, too, the
// resource is in another store, and from then on no version of it is refused in this cluster.
//
//   - No resource in the shard's own storage is taken for one of another store. A list
//     without a resource version is consistent: its version is one that the storage has
//     reached by then, and so not below one that it had reached before.
//   - No client is refused for ever. Its list after a 410 is the one that the shard is asked
//     for, with the same identity, path and selectors. Suppose that the list's version is
//     refused again. It is below MovedAt, and that of the list that the shard gave to the
//     proxy next was not: the versions have passed MovedAt in between. If they never fall,
//     none below comes any more. If they do fall (a virtual workspace may give a list the
//     version of its newest object), each further 410 takes such a passage, and the first
//     list below MovedAt that the proxy gets ends them all.
//   - The same resource may have one version for each selector and namespace, or versions
//     that fall. So no lowest version of it is remembered, only that there is another store;
//     that is a fact about the resource. Nor is it remembered that a version was refused.
//   - A shard that does not say (an error, no permission to list, a list without a version)
//     leaves it at the 410: a client that cannot list has no version from a list either.
//
// Only requests that would be refused pay for this. What is remembered saves questions and
// decides nothing else: a resource that was forgotten is asked for again.

const (
	// maxOtherStores is how many resources are remembered for one cluster, so that a tenant
	// with many displaces only its own.
	maxOtherStores = 32
	// maxOtherStoreName bounds the length of their names, in bytes; kcp's are shorter.
	maxOtherStoreName = 320
	// otherStoresBytes bounds what is remembered of all clusters. Only clusters that have
	// moved are remembered, and who moves clusters is an operator.
	otherStoresBytes = 8 << 20
	// listAnewTimeout is how long the shard may take for the list.
	listAnewTimeout = 5 * time.Second
	// maxListAnew bounds, in bytes, what is read of the list, which has one object. The
	// version comes first, unless the server cannot give lists of metadata.
	maxListAnew = 4 << 20
	// metadataList is the media type of a list without the objects' contents, or else with.
	metadataList = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
)

// otherStores remembers which resources of clusters that have moved are in another store
// than their shard's own.
type otherStores struct {
	clusters *bytecache.Cache[string, clusterStores]
}

// clusterStores are the resources of one cluster. They are valid for one move. Nothing
// changes them once they are in the cache.
type clusterStores struct {
	move      completedMove
	resources []string // those that were found last are last
}

// completedMove is the shard to which a cluster has moved, and the version of Moves.MovedAt.
type completedMove struct {
	shard string
	at    uint64
}

func newOtherStores() otherStores {
	return otherStores{bytecache.New[string, clusterStores](otherStoresBytes, nil)}
}

// has says whether a resource of a cluster is known to be in another store.
func (o otherStores) has(cluster string, m completedMove, resource string) bool {
	c, ok := o.clusters.Get(cluster)
	return ok && c.move == m && slices.Contains(c.resources, resource)
}

// add remembers one. If two are added at the same time, one of them may be lost.
func (o otherStores) add(cluster string, m completedMove, resource string) {
	if len(resource) > maxOtherStoreName {
		return
	}
	c, _ := o.clusters.Get(cluster)
	next := clusterStores{move: m}
	if c.move == m {
		next.resources = append(next.resources, c.resources[max(0, len(c.resources)-maxOtherStores+1):]...)
	}
	next.resources = append(next.resources, resource)
	size := len(cluster) + len(m.shard)
	for _, r := range next.resources {
		size += len(r)
	}
	o.clusters.Add(strings.Clone(cluster), next, size)
}

// refuseVersion answers a request that lists or watches from a version below m.at. Nil: the
// resource is in another store, and the request goes on.
func (x *exchange) refuseVersion(r *http.Request, m completedMove) *metav1.Status {
	p, cluster := x.p, x.dest.Target.Cluster
	resource, list := requestinfo.Collection(x.dest.APIPath)
	if p.otherStores.has(cluster, m, resource) {
		return nil
	}
	if p.limit.most > 0 {
		places, status := p.limit.takePlaces(&x.dest)
		defer places.add(-1)
		if status != nil {
			return status
		}
	}
	version, ok := x.listedAnew(r, list)
	if !ok || version >= m.at {
		return expiredByMove()
	}
	p.otherStores.add(cluster, m, resource)
	p.Log.V(2).Info("Found a resource that the shard keeps in another store, with versions below the one at which the workspace had moved there",
		"cluster", cluster, "shard", m.shard, "resource", resource, "version", version, "movedAt", m.at)
	return nil
}

// errListed ends the question of listedAnew when the answer has been read.
var errListed = errors.New("the list has been read")

// listedAnew asks the shard, as the client would, for one object of the collection at path,
// and returns the version of the list; false: the shard did not say.
func (x *exchange) listedAnew(r *http.Request, path string) (version uint64, ok bool) {
	ctx, cancel := context.WithTimeout(r.Context(), x.p.listAnewTimeout)
	defer cancel()
	list := r.WithContext(ctx)
	list.Method, list.Body, list.GetBody, list.ContentLength, list.TransferEncoding = http.MethodGet, http.NoBody, nil, 0, nil
	ask := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			x.rewrite(pr)
			x.dest.SetURL(pr.Out.URL, path)
			pr.Out.URL.RawQuery = listQuery(r.URL.RawQuery)
			for _, key := range [...]string{"Accept-Encoding", "Connection", "Upgrade", "Te", "Expect", "Content-Type"} {
				pr.Out.Header.Del(key)
			}
			pr.Out.Header.Set("Accept", metadataList)
		},
		Transport: x.dest.Transport,
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode == http.StatusOK {
				version, ok = listVersion(io.LimitReader(res.Body, maxListAnew))
			}
			return errListed // ReverseProxy closes the body
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {},
		ErrorLog:     x.p.errorLog,
	}
	ask.ServeHTTP(noWriter{}, list)
	return version, ok
}

// listQuery asks for one object, with the selectors of a query, on which the caller's
// permission may depend.
func listQuery(query string) string {
	wanted := "limit=1"
	for pair := range strings.SplitSeq(query, "&") {
		if requestinfo.First(pair, "labelSelector") != "" || requestinfo.First(pair, "fieldSelector") != "" {
			wanted += "&" + pair
		}
	}
	return wanted
}

// listVersion reads the resource version of a list in JSON; false: it has none.
func listVersion(from io.Reader) (version uint64, ok bool) {
	in := json.NewDecoder(from)
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return 0, false
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return 0, false
		}
		if key == "metadata" {
			var m struct{ ResourceVersion string }
			if in.Decode(&m) != nil {
				return 0, false
			}
			version, err = strconv.ParseUint(m.ResourceVersion, 10, 64)
			return version, err == nil
		}
		if skipValue(in) != nil {
			return 0, false
		}
	}
	return 0, false
}

// skipValue reads a value without keeping it.
func skipValue(in *json.Decoder) error {
	for depth := 0; ; {
		switch t, err := in.Token(); {
		case err != nil:
			return err
		case t == json.Delim('{') || t == json.Delim('['):
			depth++
		case t == json.Delim('}') || t == json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// noWriter is the writer of a ReverseProxy whose answer nobody gets.
type noWriter struct{}

func (noWriter) Header() http.Header { return http.Header{} }

func (noWriter) Write(b []byte) (int, error) { return len(b), nil }

func (noWriter) WriteHeader(int) {}
