package standin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Object is an object's JSON.
type Object = map[string]any

// store holds one resource of one shard.
type store struct {
	kind     kind
	mu       sync.Mutex
	version  *versions
	objects  map[string]stored // by cluster/name
	watchers map[chan event]struct{}
}

// kind is the group and kind of a resource's objects.
type kind struct{ group, kind string }

// kinds of the resources that proxies read, all of them v1alpha1.
var kinds = map[string]kind{
	"shards":                                {"core.kcp.io", "Shard"},
	"logicalclusters":                       {"core.kcp.io", "LogicalCluster"},
	"workspaces":                            {"tenancy.kcp.io", "Workspace"},
	"workspacetypes":                        {"tenancy.kcp.io", "WorkspaceType"},
	"workspaceauthenticationconfigurations": {"tenancy.kcp.io", "WorkspaceAuthenticationConfiguration"},
}

// stored is an object, and its JSON, which is made once: lists of a hundred
// thousand are served.
type stored struct {
	object Object
	json   []byte
}

// event is a watch event, encoded.
type event struct{ line []byte }

// versions counts a shard's resource versions.
type versions struct {
	mu  sync.Mutex
	now uint64
}

func (v *versions) next() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now++
	return v.now
}

func (v *versions) current() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func newStore(resource string, v *versions) *store {
	return &store{kind: kinds[resource], version: v, objects: map[string]stored{}, watchers: map[chan event]struct{}{}}
}

// put adds or replaces an object. The metadata in fields stays, except for name,
// annotations and version.
func (s *store) put(cluster, name string, annotations map[string]string, fields Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := cluster + "/" + name
	kind := "ADDED"
	if _, ok := s.objects[key]; ok {
		kind = "MODIFIED"
	}
	o := maps.Clone(fields)
	if o == nil {
		o = Object{}
	}
	all := map[string]string{"kcp.io/cluster": cluster}
	maps.Copy(all, annotations)
	meta := Object{}
	if given, ok := fields["metadata"].(Object); ok {
		meta = maps.Clone(given)
	}
	meta["name"], meta["annotations"], meta["resourceVersion"] = name, all, fmt.Sprint(s.version.next())
	o["metadata"] = meta
	s.typed(o)
	s.objects[key] = stored{o, encode(o)}
	s.send(kind, s.objects[key].json)
}

func (s *store) remove(cluster, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := cluster + "/" + name
	was, ok := s.objects[key]
	if !ok {
		return
	}
	delete(s.objects, key)
	o := maps.Clone(was.object)
	meta := maps.Clone(o["metadata"].(Object))
	meta["resourceVersion"] = fmt.Sprint(s.version.next())
	o["metadata"] = meta
	s.send("DELETED", encode(o))
}

// typed sets the kind and apiVersion of o.
func (s *store) typed(o Object) Object {
	o["kind"], o["apiVersion"] = s.kind.kind, s.kind.group+"/v1alpha1"
	return o
}

// list returns all objects as a list, in JSON.
func (s *store) list() []byte {
	objects, version := s.all()
	list := fmt.Appendf(nil, `{"kind":"%sList","apiVersion":"%s/v1alpha1","metadata":{"resourceVersion":"%d"},"items":[`, s.kind.kind, s.kind.group, version)
	for i, o := range objects {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, o...)
	}
	return append(list, "]}\n"...)
}

// bookmark is the event that ends a streamed list.
func (s *store) bookmark(version uint64) event {
	return eventOf("BOOKMARK", encode(s.typed(Object{"metadata": Object{
		"resourceVersion": fmt.Sprint(version), "annotations": Object{"k8s.io/initial-events-end": "true"}}})))
}

// send hands an event to every watcher. The caller holds mu. A watcher that
// has fallen far behind is cut off, as a real server does.
func (s *store) send(kind string, o []byte) {
	e := eventOf(kind, o)
	for w := range s.watchers {
		select {
		case w <- e:
		default:
			close(w)
			delete(s.watchers, w)
		}
	}
}

// expire ends every watch, like a server that no longer has the versions since the
// watch began.
func (s *store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.next()
	s.send("ERROR", encode(Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}))
	for w := range s.watchers {
		close(w)
		delete(s.watchers, w)
	}
}

func encode(o Object) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // maps and strings always encode
	}
	return b
}

func eventOf(kind string, o []byte) event {
	return event{fmt.Appendf(nil, "{\"type\":%q,\"object\":%s}\n", kind, o)}
}

// watch returns all objects, their version, and the events after it until stop is
// called.
func (s *store) watch() (objects [][]byte, version uint64, events chan event, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events = make(chan event, 1024)
	s.watchers[events] = struct{}{}
	stop = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, events)
	}
	return s.sorted(), s.version.current(), events, stop
}

// all returns all objects and their version.
func (s *store) all() ([][]byte, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted(), s.version.current()
}

func (s *store) sorted() [][]byte {
	objects := make([][]byte, 0, len(s.objects))
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		objects = append(objects, s.objects[key].json)
	}
	return objects
}
