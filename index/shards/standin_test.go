package shards

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// standIn behaves like a shard's API server for lists and watches: versions,
// pages, streamed lists, bookmarks, expiry.
type standIn struct {
	*httptest.Server
	prefix string // of every path

	mu        sync.Mutex
	version   int
	oldest    int // watches from before it are expired
	objects   map[string]map[string]stored
	events    []change
	changed   chan struct{} // closed at every change
	exports   map[string]string
	requests  []string
	refuse    bool // streamed lists
	silent    bool // streamed lists never end
	inStream  bool // expiry is an ERROR event, not an answer
	listError int  // status of lists
	gate      chan struct{}
	peerToken string // required for the Shard objects of a peer
}

type stored struct {
	version int
	raw     string
}

type change struct {
	version    int
	path, kind string
	raw        string
}

const (
	lcPath    = "/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"
	wsPath    = "/clusters/*/apis/tenancy.kcp.io/v1alpha1/workspaces:"
	shardPath = "/clusters/root/apis/core.kcp.io/v1alpha1/shards"
)

func newStandIn(t *testing.T, prefix string) *standIn {
	t.Helper()
	s := &standIn{
		prefix: prefix, version: 100,
		objects: map[string]map[string]stored{}, changed: make(chan struct{}),
		exports: map[string]string{"v1alpha2/tenancy.kcp.io": "hash1"},
	}
	for _, p := range []string{lcPath, wsPath + "hash1", shardPath} {
		s.objects[p] = map[string]stored{}
	}
	s.start(t, nil)
	return s
}

// start serves, at a listener of its own when l is nil.
func (s *standIn) start(t *testing.T, l net.Listener) {
	t.Helper()
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // cut connections are meant
	if l != nil {
		_ = s.Listener.Close()
		s.Listener = l
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	srv := s.Server
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
}

// url is the address to put into a Shard object.
func (s *standIn) url() string { return s.URL + s.prefix }

// config trusts this stand-in's certificate (all httptest servers share one).
func (s *standIn) config() *rest.Config {
	return &rest.Config{Host: s.url(), TLSClientConfig: rest.TLSClientConfig{
		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
	}}
}

func (s *standIn) bump() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// put stores an object and tells the watches.
func (s *standIn) put(path, cluster, name, spec string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	raw := fmt.Sprintf(`{"kind":"X","metadata":{"name":%q,"resourceVersion":"%d","annotations":{"kcp.io/cluster":%q}},"spec":%s}`,
		name, s.version, cluster, spec)
	kind := "ADDED"
	if _, ok := s.objects[path][cluster+"/"+name]; ok {
		kind = "MODIFIED"
	}
	if s.objects[path] == nil {
		s.objects[path] = map[string]stored{}
	}
	s.objects[path][cluster+"/"+name] = stored{s.version, raw}
	s.events = append(s.events, change{s.version, path, kind, raw})
	s.bump()
}

func (s *standIn) remove(path, cluster, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[path][cluster+"/"+name]
	delete(s.objects[path], cluster+"/"+name)
	s.version++
	s.events = append(s.events, change{s.version, path, "DELETED", o.raw})
	s.bump()
}

// shard stores a Shard object.
func (s *standIn) shard(name, baseURL string) {
	s.put(shardPath, "root", name, fmt.Sprintf(`{"baseURL":%q}`, baseURL))
}

// with changes settings under the lock.
func (s *standIn) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// expire forgets all events.
func (s *standIn) expire() {
	s.with(func() { s.version++; s.oldest = s.version; s.events = nil; s.bump() })
}

func (s *standIn) count(substring string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.Contains(r, substring) {
			n++
		}
	}
	return n
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, s.prefix)
	s.mu.Lock()
	s.requests = append(s.requests, r.RequestURI)
	export, isExport := strings.CutPrefix(path, "/clusters/root/apis/apis.kcp.io/")
	hash := s.exports[strings.Replace(export, "apiexports/", "", 1)]
	_, known := s.objects[path]
	gate := s.gate
	forbidden := path == adminShards && s.peerToken != "" && r.Header.Get("Authorization") != "Bearer "+s.peerToken
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case forbidden:
		answer(w, 403, "Forbidden")
	case !ok || isExport && hash == "" || !isExport && !known:
		answer(w, 404, "NotFound")
	case isExport:
		_, _ = fmt.Fprintf(w, `{"status":{"identityHash":%q}}`, hash)
	case r.URL.Query().Get("watch") == "true":
		s.watch(w, r, path)
	default:
		s.list(w, r, path)
	}
}

func answer(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_, _ = io.WriteString(w, status(code, reason))
}

func status(code int, reason string) string {
	return fmt.Sprintf(`{"kind":"Status","status":"Failure","code":%d,"reason":%q,"message":"told to"}`, code, reason)
}

func (s *standIn) list(w http.ResponseWriter, r *http.Request, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listError != 0 {
		answer(w, s.listError, "")
		return
	}
	keys := slices.Sorted(maps.Keys(s.objects[path]))
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	keys = keys[from:]
	next := ""
	if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && len(keys) > limit {
		keys, next = keys[:limit], strconv.Itoa(from+limit)
	}
	items := make([]string, 0, len(keys))
	for _, k := range keys {
		items = append(items, s.objects[path][k].raw)
	}
	_, _ = fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d","continue":%q},"items":[%s]}`,
		s.version, next, strings.Join(items, ","))
}

func (s *standIn) watch(w http.ResponseWriter, r *http.Request, path string) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	send := func(kind, raw string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": json.RawMessage(raw)})
	}
	s.mu.Lock()
	switch {
	case q.Get("sendInitialEvents") == "true" && s.refuse:
		s.mu.Unlock()
		answer(w, 422, "Invalid")
		return
	case q.Get("sendInitialEvents") == "true":
		for _, k := range slices.Sorted(maps.Keys(s.objects[path])) {
			send("ADDED", s.objects[path][k].raw)
		}
		from = s.version
		if !s.silent {
			send("BOOKMARK", fmt.Sprintf(`{"metadata":{"resourceVersion":"%d","annotations":{"k8s.io/initial-events-end":"true"}}}`, from))
		}
	case from < s.oldest && s.inStream:
		send("ERROR", status(410, "Expired"))
		s.mu.Unlock()
		return
	case from < s.oldest:
		s.mu.Unlock()
		answer(w, 410, "Expired")
		return
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		expired := from < s.oldest && s.inStream
		for _, e := range s.events {
			if e.version > from && e.path == path {
				send(e.kind, e.raw)
			}
		}
		if expired {
			send("ERROR", status(410, "Expired"))
		}
		from = max(from, s.version)
		changed := s.changed
		s.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		if expired {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
