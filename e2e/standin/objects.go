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
	mu       sync.Mutex
	version  *versions
	objects  map[string]Object // by cluster/name
	watchers map[chan event]struct{}
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

func newStore(v *versions) *store {
	return &store{version: v, objects: map[string]Object{}, watchers: map[chan event]struct{}{}}
}

// put adds or replaces an object.
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
	o["metadata"] = Object{"name": name, "annotations": all, "resourceVersion": fmt.Sprint(s.version.next())}
	s.objects[key] = o
	s.send(kind, o)
}

func (s *store) remove(cluster, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := cluster + "/" + name
	o, ok := s.objects[key]
	if !ok {
		return
	}
	delete(s.objects, key)
	o = maps.Clone(o)
	meta := maps.Clone(o["metadata"].(Object))
	meta["resourceVersion"] = fmt.Sprint(s.version.next())
	o["metadata"] = meta
	s.send("DELETED", o)
}

// send hands an event to every watcher. The caller holds mu. A watcher that
// has fallen far behind is cut off, as a real server does.
func (s *store) send(kind string, o Object) {
	e := encode(kind, o)
	for w := range s.watchers {
		select {
		case w <- e:
		default:
			close(w)
			delete(s.watchers, w)
		}
	}
}

func encode(kind string, o Object) event {
	line, err := json.Marshal(Object{"type": kind, "object": o})
	if err != nil {
		panic(err) // maps and strings always encode
	}
	return event{append(line, '\n')}
}

// watch returns all objects there are, the version, and what comes after. stop
// ends it.
func (s *store) watch() (objects []Object, version uint64, events chan event, stop func()) {
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

// all returns the objects there are, and the version.
func (s *store) all() ([]Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted(), s.version.current()
}

func (s *store) sorted() []Object {
	objects := make([]Object, 0, len(s.objects))
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		objects = append(objects, s.objects[key])
	}
	return objects
}
