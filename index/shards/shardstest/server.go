package shardstest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// The paths of resources. Those of an APIExport contain the identity that the Server
// gives it.
const (
	Shards          = "/clusters/root/apis/core.kcp.io/v1alpha1/shards"
	LogicalClusters = "/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"
	Workspaces      = tenancy + "workspaces:" + identity
	WorkspaceTypes  = tenancy + "workspacetypes:" + identity
	Configurations  = tenancy + "workspaceauthenticationconfigurations:" + identity

	tenancy  = "/clusters/*/apis/tenancy.kcp.io/v1alpha1/"
	identity = "idhash1"
)

// Delivery is how objects reach a Watcher.
type Delivery string

// The deliveries.
const (
	// Pages: in the pages of a list.
	Pages Delivery = "pages"
	// StreamedList: as ADDED events, which a bookmark ends.
	StreamedList Delivery = "streamed list"
	// WatchFrames: the list is empty. The objects are in the ADDED events of the watch
	// that follows, or in MODIFIED events after ADDED ones that have only their metadata.
	// Between them are bookmarks and events of a kind that no kcp sends yet.
	WatchFrames Delivery = "watch frames"
)

// Deliveries are all there are.
var Deliveries = []Delivery{Pages, StreamedList, WatchFrames}

// Address stands for the Server's URL in the objects that it gets.
const Address = "ADDRESS"

// The versions that the Server gives out: of an empty list, and of everything.
const (
	empty    = "20"
	complete = "30"
)

// Server is a kcp of one shard.
type Server struct {
	// Config is its configuration, for root and for the shard.
	Config *rest.Config

	delivery Delivery
	objects  map[string][]string // by path
	// delivered is closed when a Watcher has read every resource to the end.
	delivered chan struct{}

	mu sync.Mutex
	// sent has the paths whose frames were sent, resumed those that are watched from
	// their end on.
	sent, resumed map[string]bool
}

// New serves objects, by the paths of their resources, until the test ends, each as one
// line. Address in an object becomes the Server's own.
func New(t testing.TB, delivery Delivery, objects map[string][]string) *Server {
	t.Helper()
	s := &Server{delivery: delivery, objects: map[string][]string{}, delivered: make(chan struct{}), sent: map[string]bool{}, resumed: map[string]bool{}}
	server := httptest.NewUnstartedServer(s)
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	for path, all := range objects {
		s.objects[path] = []string{}
		for _, object := range all {
			s.objects[path] = append(s.objects[path], strings.NewReplacer(Address, server.URL, "\n", "", "\t", "").Replace(object))
		}
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	s.Config = &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
	return s
}

// Wait waits until a Watcher has read every resource to the end. Only WatchFrames need it:
// with other deliveries everything has been read when the Watcher is synced.
func (s *Server) Wait(t testing.TB) {
	t.Helper()
	if s.delivery != WatchFrames {
		return
	}
	select {
	case <-s.delivered:
	case <-time.After(time.Minute):
		t.Fatal("not everything was read")
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	objects, ok := s.objects[r.URL.Path]
	switch {
	case r.URL.Path == "/clusters/root/apis/apis.kcp.io/v1alpha2/apiexports/tenancy.kcp.io":
		_, _ = fmt.Fprintf(w, `{"status":{"identityHash":%q}}`, identity)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case query.Has("sendInitialEvents") && s.delivery != StreamedList:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case query.Has("sendInitialEvents"):
		for _, o := range objects {
			send(w, "ADDED", o)
		}
		send(w, "BOOKMARK", `{"kind":"Later","metadata":{"resourceVersion":"`+complete+`","annotations":{"k8s.io/initial-events-end":"true","later":"x"}},"spec":{"later":[1]}}`)
		hold(w, r)
	case query.Has("watch") && query.Get("resourceVersion") == empty:
		sendFrames(w, objects)
		s.setSent(r.URL.Path)
	case query.Has("watch"):
		s.setResumed(r.URL.Path)
		hold(w, r)
	default:
		s.list(w, r.URL.Path, objects)
	}
}

// list answers with everything, or with nothing as long as it is left to a watch.
func (s *Server) list(w io.Writer, path string, objects []string) {
	s.mu.Lock()
	sent := s.sent[path]
	s.mu.Unlock()
	version := complete
	if s.delivery == WatchFrames && !sent {
		version, objects = empty, nil
	}
	_, _ = fmt.Fprintf(w, `{"kind":"LaterList","metadata":{"resourceVersion":%q,"later":{"a":1}},"later":[{}],"items":[%s]}`, version, strings.Join(objects, ","))
}

func (s *Server) setSent(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[path] = true
}

func (s *Server) setResumed(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumed[path] {
		return
	}
	s.resumed[path] = true
	if len(s.resumed) == len(s.objects) {
		close(s.delivered)
	}
}

// sendFrames sends objects as the events of a watch.
func sendFrames(w io.Writer, objects []string) {
	for i, o := range objects {
		if i%2 == 0 {
			send(w, "ADDED", metadataOf(o))
			send(w, "BOOKMARK", `{"kind":"Later","metadata":{"resourceVersion":"25","later":[null]},"status":{"phase":"Later"}}`)
			send(w, "LATER", o)
			send(w, "MODIFIED", o)
		} else {
			send(w, "ADDED", o)
		}
	}
	send(w, "BOOKMARK", `{"kind":"Later","metadata":{"resourceVersion":"`+complete+`"}}`)
}

// send sends an event, with fields that no kcp has yet.
func send(w io.Writer, kind, object string) {
	_, _ = fmt.Fprintf(w, `{"later":{"type":"DELETED","object":{}},"type":%q,"object":%s,"trace":["}"]}`+"\n", kind, object)
}

// metadataOf returns an object without anything else.
func metadataOf(object string) string {
	var o struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(object), &o); err != nil {
		return err.Error() // which no reader takes for an object
	}
	return `{"metadata":` + string(o.Metadata) + `}`
}

// hold keeps a watch open.
func hold(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}
