package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// otherStore is a shard that serves ConfigMaps from a store with versions of its own. How it
// answers are the fields before mu.
type otherStore struct {
	streams      bool // lists can be streamed
	custom       bool // lists are those of custom resources: metadata is last
	noMetadata   bool // there are no lists of metadata, and limits are ignored
	compressed   bool // lists are, for those who accept that
	versionOfNew bool // a list's version is that of its newest object

	mu      sync.Mutex // guards the rest
	version int
	objects map[string]int
	changed chan struct{} // closed at each change
	end     chan struct{} // closed to end the watches
	lists   int           // that clients have asked for, streamed or not
	asked   []string      // what else was listed: the queries
	open    int           // watches
	types   map[string]bool
}

func newOtherStore() *otherStore {
	return &otherStore{version: 10, objects: map[string]int{}, changed: make(chan struct{}), end: make(chan struct{}), types: map[string]bool{}}
}

func (s *otherStore) put(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.objects[name] = s.version
	close(s.changed)
	s.changed = make(chan struct{})
}

// endWatches ends those that are open.
func (s *otherStore) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.end)
	s.end = make(chan struct{})
}

// counts are how many lists clients have asked for and how many watches are open.
func (s *otherStore) counts() (lists, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists, s.open
}

func (s *otherStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Get("watch") != "" && q.Get("sendInitialEvents") != "" && !s.streams:
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: 422})
	case q.Get("watch") != "":
		s.watch(w, r)
	default:
		s.list(w, r)
	}
}

func (s *otherStore) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ask := r.URL.Query().Get("limit") == "1"
	if ask {
		s.asked = append(s.asked, r.URL.RawQuery)
	} else {
		s.lists++
	}
	all := corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}}
	version := s.version
	if s.versionOfNew {
		version = slices.Max(append(slices.Collect(maps.Values(s.objects)), 0))
	}
	all.ResourceVersion = strconv.Itoa(version)
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		all.Items = append(all.Items, *configMap(name, s.objects[name]))
	}
	s.mu.Unlock()
	media, accept := jsonMedia, r.Header.Get("Accept")
	if strings.HasPrefix(accept, runtime.ContentTypeProtobuf) {
		media = runtime.ContentTypeProtobuf
	}
	body := encoded(media, &all)
	switch {
	case ask && !s.noMetadata && strings.Contains(accept, "as=PartialObjectMetadataList"):
		body, _ = json.Marshal(metav1.PartialObjectMetadataList{ListMeta: all.ListMeta})
	case s.custom && media == jsonMedia:
		var sorted map[string]any
		_ = json.Unmarshal(body, &sorted)
		body, _ = json.Marshal(sorted)
	}
	w.Header().Set("Content-Type", media)
	s.mu.Lock()
	s.types[fmt.Sprint(media, s.compressed && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"))] = true
	s.mu.Unlock()
	if s.compressed && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(body)
		_ = z.Close()
		return
	}
	_, _ = w.Write(body)
}

func configMap(name string, version int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", ResourceVersion: strconv.Itoa(version)},
	}
}

func encoded(media string, o runtime.Object) []byte {
	if media == jsonMedia {
		text, _ := json.Marshal(o)
		return text
	}
	var b bytes.Buffer
	_ = protobuf.NewSerializer(nil, nil).Encode(o, &b)
	return b.Bytes()
}

// watch sends what is newer than the version that was asked for, and a bookmark after the
// first events if they are a streamed list.
func (s *otherStore) watch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sent, _ := strconv.Atoi(q.Get("resourceVersion"))
	streamed := q.Get("sendInitialEvents") != ""
	s.mu.Lock()
	if streamed {
		s.lists++
	}
	s.open++
	end := s.end
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}()
	media := jsonMedia
	if strings.HasPrefix(r.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
		media = protoMedia
	}
	w.Header().Set("Content-Type", media)
	flush := http.NewResponseController(w)
	send := func(event string, o runtime.Object) {
		e := metav1.WatchEvent{Type: event, Object: runtime.RawExtension{Raw: encoded(strings.TrimSuffix(media, ";stream=watch"), o)}}
		if media == jsonMedia {
			_ = json.NewEncoder(w).Encode(e)
			return
		}
		b, _ := e.Marshal()
		_, _ = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	}
	for {
		s.mu.Lock()
		changed, from := s.changed, sent
		for name, v := range s.objects {
			if v > from {
				send("ADDED", configMap(name, v))
				sent = max(sent, v)
			}
		}
		if streamed {
			last := configMap("", s.version)
			last.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
			send("BOOKMARK", last)
			streamed = false
		}
		s.mu.Unlock()
		_ = flush.Flush()
		select {
		case <-changed:
		case <-end:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// TestInformersOfOtherStores: an informer of a resource whose versions stay below the one at
// which the cluster had moved lists once, and goes on from watch to watch.
func TestInformersOfOtherStores(t *testing.T) {
	for name, tc := range map[string]struct {
		accept string
		shape  func(*otherStore)
		lists  string // what the informer's lists were like
	}{
		"JSON":                               {accept: jsonMedia, lists: jsonMedia + "false"},
		"Protobuf":                           {accept: runtime.ContentTypeProtobuf, lists: runtime.ContentTypeProtobuf + "false"},
		"custom resources":                   {accept: jsonMedia, shape: func(s *otherStore) { s.custom = true }, lists: jsonMedia + "false"},
		"custom resources, no metadata list": {accept: jsonMedia, shape: func(s *otherStore) { s.custom, s.noMetadata = true, true }, lists: jsonMedia + "false"},
		"compressed":                         {accept: jsonMedia, shape: func(s *otherStore) { s.compressed = true }, lists: jsonMedia + "true"},
		"streamed lists":                     {accept: jsonMedia, shape: func(s *otherStore) { s.streams = true }},
		"streamed lists, Protobuf":           {accept: runtime.ContentTypeProtobuf, shape: func(s *otherStore) { s.streams = true }},
		"the version of the newest object":   {accept: jsonMedia, shape: func(s *otherStore) { s.versionOfNew = true }, lists: jsonMedia + "false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, w, moves := newOtherStore(), newWorld(t), newFakeMoves()
			if tc.shape != nil {
				tc.shape(store)
			}
			w.shard(t, "new", true, store.ServeHTTP)
			moves.settled["2kd9 new"] = 1000
			w.config.Moves = moves
			f := w.front(t)
			store.put("before")
			informer := follow(t, f, tc.accept)
			for n := range 3 {
				w.eventually(t, "a watch", func() bool { _, open := store.counts(); return open == 1 })
				store.put(fmt.Sprint("o", n))
				w.eventually(t, "an object that was put during the watch", func() bool { return len(informer.ListKeys()) == n+2 })
				store.endWatches()
			}
			w.eventually(t, "a watch", func() bool { _, open := store.counts(); return open == 1 })
			if lists, _ := store.counts(); lists != 1 {
				t.Errorf("it has listed %d times, want once", lists)
			}
			store.mu.Lock()
			defer store.mu.Unlock()
			if len(store.asked) != 1 {
				t.Errorf("the proxy has asked %q, want one question", store.asked)
			}
			if tc.lists != "" && !store.types[tc.lists] {
				t.Errorf("the lists were %v, want %s among them", store.types, tc.lists)
			}
		})
	}
}

// follow starts an informer of workspace root:ws that ends with the test.
func follow(t *testing.T, f *front, accept string) cache.Store {
	t.Helper()
	tr := f.client(t, false).Transport.(*http.Transport)
	tr.DisableCompression = false
	kube, err := kubernetes.NewForConfig(&rest.Config{
		Host: f.URL + "/clusters/root:ws", Transport: tr, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: accept, AcceptContentTypes: accept},
	})
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kube, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	store := informer.GetStore()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); factory.Shutdown() })
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer never synced")
	}
	return store
}

// TestQuestionsAboutOtherStores: what the shard is asked before a version is refused, as
// whom, and what follows.
func TestQuestionsAboutOtherStores(t *testing.T) {
	t.Parallel()
	const list, watch = "/clusters/root:ws/api/v1/configmaps", "/clusters/root:ws/api/v1/configmaps?watch=1&resourceVersion=9"
	answer := func(version string) string { return `{"kind":"List","metadata":{"resourceVersion":"` + version + `"}}` }
	for name, tc := range map[string]struct {
		path   string
		method string
		header http.Header
		answer string // "": 403
		want   int
		asked  string // the shard, "" when it was not
	}{
		"its own storage":             {path: watch, answer: answer("1000"), want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"another store":               {path: watch, answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"another store, a list":       {path: list + "?resourceVersion=9", answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"another store, HEAD":         {path: list + "?resourceVersion=9", method: http.MethodHead, answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"nothing in it":               {path: watch, answer: answer("0"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"no permission to list":       {path: watch, want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"no version":                  {path: watch, answer: answer(""), want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"no list":                     {path: watch, answer: `"metadata"`, want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"cut off":                     {path: watch, answer: `{"items":[{"metadata":{"resourceVersion":"9"}}`, want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"only an object's version":    {path: watch, answer: `{"items":[{"metadata":{"resourceVersion":"9"}}]}`, want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"metadata last":               {path: watch, answer: `{"apiVersion":"v1","items":[{"metadata":{"resourceVersion":"2000"}},[1,{}]],"kind":"L","metadata":{"resourceVersion":"9"}}`, want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"too large":                   {path: watch, answer: `{"items":["` + strings.Repeat("x", 4<<20) + `"],"metadata":{"resourceVersion":"9"}}`, want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"selectors":                   {path: watch + "&labelSelector=a%3Db&sendInitialEvents=true&fieldSelector=metadata.name%3Dx&timeoutSeconds=5&allowWatchBookmarks=true", answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx"},
		"an old watch, in namespaces": {path: "/clusters/root:ws/api/v1/watch/namespaces/n/configmaps/x?resourceVersion=9", answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/namespaces/n/configmaps?limit=1"},
		"an identity of somebody else": {path: watch, header: http.Header{"Impersonate-User": {"bob"}, "Accept-Encoding": {"gzip"}, "Accept": {"text/plain"}, "X-Remote-Group": {"system:masters"}},
			answer: answer("999"), want: 200, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"an upgrade": {path: watch, header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}},
			answer: answer("1000"), want: 410, asked: "/clusters/2kd9/api/v1/configmaps?limit=1"},
		"a version from after the move": {path: list + "?resourceVersion=1000", want: 200},
	} {
		t.Run(name, func(t *testing.T) {
			w, moves := newWorld(t), newFakeMoves()
			shard := w.shard(t, "new", true, func(rw http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Query().Get("limit") != "1":
				case tc.answer == "":
					rw.WriteHeader(http.StatusForbidden)
				default:
					_, _ = io.WriteString(rw, tc.answer)
				}
			})
			moves.settled["2kd9 new"] = 1000
			w.config.Moves = moves
			f := w.front(t)
			method := tc.method
			if method == "" {
				method = http.MethodGet
			}
			for n := range 2 {
				res, body := do(t, f.client(t, false), method, f.URL+tc.path, tc.header)
				if res.StatusCode != tc.want {
					t.Fatalf("answers %d, want %d: %s", res.StatusCode, tc.want, body)
				}
				all := shard.take()
				if tc.asked != "" && (n == 0 || tc.want == 410) {
					if len(all) == 0 {
						t.Fatal("the shard was not asked")
					}
					wantQuestion(t, all[0], tc.asked, tc.header)
					all = all[1:]
				}
				if (len(all) == 1) != (tc.want == 200) {
					t.Errorf("the shard has seen %d more requests: %+v", len(all), all)
				}
			}
		})
	}
}

// wantQuestion: it is the caller's own list, for which nothing but the version matters.
func wantQuestion(t *testing.T, got seen, uri string, client http.Header) {
	t.Helper()
	if got.Method != http.MethodGet || got.URI != uri || got.Body != "" {
		t.Errorf("the shard was asked %s %s, want %s", got.Method, got.URI, uri)
	}
	if diff := cmp.Diff(alice, got.User); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	for key, want := range map[string][]string{
		"Accept": {"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"}, "Impersonate-User": client["Impersonate-User"], "Connection": nil, "Upgrade": nil, "Authorization": nil,
	} {
		if diff := cmp.Diff(want, got.Header[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

// TestOtherStoresAreForgottenAfterAMove: what was found is forgotten when the cluster moves on,
// and says nothing about other clusters and resources.
func TestOtherStoresAreForgottenAfterAMove(t *testing.T) {
	w, moves := newWorld(t), newFakeMoves()
	version := map[string]string{"configmaps": "5", "secrets": "5000"}
	shard := w.shard(t, "new", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") == "1" {
			_, _ = io.WriteString(rw, `{"metadata":{"resourceVersion":"`+version[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]+`"}}`)
		}
	})
	w.index["other"] = w.index["root:ws"]
	moves.settled["2kd9 new"] = 1000
	w.config.Moves = moves
	f := w.front(t)
	ask := func(path string, want, questions int) {
		t.Helper()
		res, _ := do(t, f.client(t, true), http.MethodGet, f.URL+"/clusters/root:ws/api/v1/"+path+"?resourceVersion=4", nil)
		got := 0
		for _, s := range shard.take() {
			if strings.Contains(s.URI, "limit=1") {
				got++
			}
		}
		if res.StatusCode != want || got != questions {
			t.Errorf("%s: answers %d after %d questions, want %d after %d", path, res.StatusCode, got, want, questions)
		}
	}
	ask("configmaps", 200, 1)
	ask("configmaps", 200, 0)
	ask("namespaces/a/configmaps", 200, 0)
	ask("secrets", 410, 1)
	ask("secrets", 410, 1)
	moves.mu.Lock()
	moves.settled["2kd9 new"] = 2000
	moves.mu.Unlock()
	ask("configmaps", 200, 1)
	moves.mu.Lock()
	moves.settled["2kd9 new"] = 3
	moves.mu.Unlock()
	ask("secrets", 200, 0)
}

// TestListingAgainTakesAPlace: a question is a running request: it is not asked when no more may
// run, its place is given back, and a shard that never answers leaves it at the 410.
func TestListingAgainTakesAPlace(t *testing.T) {
	t.Parallel()
	w, moves := newWorld(t), newFakeMoves()
	w.shard(t, "new", true, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	moves.settled["2kd9 new"] = 1000
	w.config.Moves, w.config.MaxInFlight = moves, 8
	w.prepare = func(p *Proxy) { p.streams.listedVersionTimeout = 50 * time.Millisecond }
	f := w.front(t)
	ask := func(want int) {
		t.Helper()
		res, body := do(t, f.client(t, true), http.MethodGet, f.URL+"/clusters/root:ws/api/v1/pods?watch=1&resourceVersion=9", nil)
		if res.StatusCode != want {
			t.Errorf("answers %d, want %d: %s", res.StatusCode, want, body)
		}
	}
	for range 20 {
		ask(410)
	}
	places := f.limit.cluster("2kd9")
	places.Add(1)
	ask(429)
	places.Add(-1)
	ask(410)
	if n := f.limit.all.Load() + places.Load() + f.limit.shard("new").Load(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}
