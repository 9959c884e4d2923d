package standin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/websocket"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"

	"frontproxy/e2e/harness"
)

// Shard is a stand-in shard.
type Shard struct {
	// Name is the Shard object's; URL where it listens.
	Name, URL string
	// ExternalURL is what its object says where clients reach it (the proxy, in a
	// real kcp) when it is listed the next time; empty means URL.
	ExternalURL string
	kcp         *KCP
	address     string
	serving     harness.KeyPair
	headers     authenticator.Request
	users       *x509.CertPool
	proxies     *x509.CertPool
	version     versions

	// Requests counts what was forwarded to it, not lists and watches.
	Requests atomic.Int64
	// At is the address at which the last of them came; nil before.
	At atomic.Pointer[string]
	// Lookups counts what the proxy itself asked about service accounts.
	Lookups atomic.Int64

	forwarded atomic.Pointer[http.Handler]
	many      atomic.Pointer[manyObjects]

	mu         sync.Mutex // guards what follows
	stores     map[string]*store
	namespaced map[string]Object // by path
	published  *jose.JSONWebKeySet
	callers    map[Purpose]map[string]bool
	server     *http.Server
	stop       context.CancelFunc
}

// WhoAmI is how a shard answers every forwarded request: who it takes the caller
// for, and what arrived.
type WhoAmI struct {
	Shard, Path, RawQuery string
	User, UID             string
	Groups                []string
	Extra                 map[string][]string
	// Header has the request's headers as they arrived, and Host.
	Header http.Header
}

func (k *KCP) startShard(name string) (*Shard, error) {
	s := &Shard{Name: name, kcp: k, stores: map[string]*store{}, users: pool(k.ClientCA), proxies: pool(k.RequestHeaderCA)}
	var err error
	if s.serving, err = k.ServingCA.Serving(filepath.Join(k.Dir, name), "serving"); err != nil {
		return nil, err
	}
	if s.headers, err = headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"}); err != nil {
		return nil, err
	}
	s.address = "127.0.0.1:0"
	return s, s.Start()
}

func pool(ca *harness.CA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(ca.PEM)
	return p
}

// Start serves, again at the same address after Stop.
func (s *Shard) Start() error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("stand-in shard %s: %w", s.Name, err)
	}
	pair, err := tls.X509KeyPair(s.serving.Cert, s.serving.Key)
	if err != nil {
		return fmt.Errorf("stand-in shard %s: %w", s.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(discard{}, "", 0),
	}
	s.mu.Lock()
	s.address, s.URL = listener.Addr().String(), "https://"+listener.Addr().String()
	s.server, s.stop = server, stop
	s.mu.Unlock()
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Stop cuts every connection. Stopping twice is fine.
func (s *Shard) Stop() {
	s.mu.Lock()
	server, stop := s.server, s.stop
	s.mu.Unlock()
	stop()
	_ = server.Close()
}

// Expire has every watch fail with 410 Gone, so that whoever follows must list
// again.
func (s *Shard) Expire() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.stores))
	s.mu.Unlock()
	for _, st := range all {
		st.expire()
	}
}

// Move makes the shard listen at a second address, with which ListShard lists it from
// then on; leave closes the first one.
func (s *Shard) Move() (leave func(), err error) {
	s.mu.Lock()
	server, stop := s.server, s.stop
	s.address = "127.0.0.1:0"
	s.mu.Unlock()
	if err := s.Start(); err != nil {
		return nil, err
	}
	return func() { stop(); _ = server.Close() }, nil
}

func (s *Shard) store(resource string) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stores[resource] == nil {
		s.stores[resource] = newStore(resource, &s.version)
	}
	return s.stores[resource]
}

// PutCluster puts a LogicalCluster onto the shard; kind is the type annotation,
// annotations are added to it.
func (s *Shard) PutCluster(cluster, kind string, annotations map[string]string) {
	all := map[string]string{"internal.tenancy.kcp.io/type": kind}
	for k, v := range annotations {
		all[k] = v
	}
	s.store("logicalclusters").put(cluster, "cluster", all, nil)
}

// RemoveCluster removes it.
func (s *Shard) RemoveCluster(cluster string) { s.store("logicalclusters").remove(cluster, "cluster") }

// PutWorkspace puts a Ready Workspace object into the parent cluster on this
// shard. Fields are added to or replace those of its spec.
func (s *Shard) PutWorkspace(parent, name, cluster, typePath, typeName string, fields Object) {
	spec := Object{"cluster": cluster, "type": Object{"path": typePath, "name": typeName}}
	for k, v := range fields {
		spec[k] = v
	}
	s.store("workspaces").put(parent, name, nil, Object{"spec": spec, "status": Object{"phase": "Ready"}})
}

// PutWorkspaceInPhase is PutWorkspace for one that is not Ready.
func (s *Shard) PutWorkspaceInPhase(phase, parent, name, cluster, typePath, typeName string) {
	s.store("workspaces").put(parent, name, nil, Object{
		"spec": Object{"cluster": cluster, "type": Object{"path": typePath, "name": typeName}}, "status": Object{"phase": phase},
	})
}

// Put puts an object of any resource that proxies read, with whatever fields it
// has.
func (s *Shard) Put(resource, cluster, name string, annotations map[string]string, fields Object) {
	s.store(resource).put(cluster, name, annotations, fields)
}

// PutMount puts a Workspace that is mounted from elsewhere.
func (s *Shard) PutMount(parent, name, url string) {
	mount := Object{"ref": Object{"apiVersion": "example.io/v1", "kind": "Mount", "name": name}}
	s.store("workspaces").put(parent, name, nil, Object{"spec": Object{"mount": mount, "URL": url}, "status": Object{"phase": "Ready"}})
}

// RemoveWorkspace removes it.
func (s *Shard) RemoveWorkspace(parent, name string) { s.store("workspaces").remove(parent, name) }

// RemoveType removes one.
func (s *Shard) RemoveType(cluster, name string) { s.store("workspacetypes").remove(cluster, name) }

// RemoveConfiguration removes one.
func (s *Shard) RemoveConfiguration(cluster, name string) {
	s.store("workspaceauthenticationconfigurations").remove(cluster, name)
}

// PutType puts a WorkspaceType that names authentication configurations.
func (s *Shard) PutType(cluster, name string, configurations ...string) {
	var names []Object
	for _, c := range configurations {
		names = append(names, Object{"name": c})
	}
	s.store("workspacetypes").put(cluster, name, nil, Object{"spec": Object{"authenticationConfigurations": names}})
}

// PutConfiguration puts a WorkspaceAuthenticationConfiguration.
func (s *Shard) PutConfiguration(cluster, name string, jwt ...Object) {
	s.PutAnnotatedConfiguration(cluster, name, nil, jwt...)
}

// PutAnnotatedConfiguration is PutConfiguration with annotations.
func (s *Shard) PutAnnotatedConfiguration(cluster, name string, annotations map[string]string, jwt ...Object) {
	s.store("workspaceauthenticationconfigurations").put(cluster, name, annotations, Object{"spec": Object{"jwt": jwt}})
}

// SetForwarded makes h answer forwarded requests instead of WhoAmI. They are neither counted nor
// checked.
func (s *Shard) SetForwarded(h http.Handler) { s.forwarded.Store(&h) }

// manyObjects returns the handler of lists and watches of a resource over all clusters; not ok
// means that they show what was put.
type manyObjects = func(resource string) (list http.Handler, ok bool)

// SetMany makes many answer lists and watches over all clusters, for the resources for which it
// returns ok.
func (s *Shard) SetMany(many func(resource string) (list http.Handler, ok bool)) { s.many.Store(&many) }

// ServeHTTP implements http.Handler.
func (s *Shard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := s.forwarded.Load(); h != nil && purposeOf(r) == ForClients {
		(*h).ServeHTTP(w, r)
		return
	}
	s.called(r)
	switch {
	case strings.HasPrefix(r.URL.Path, "/clusters/root/apis/apis.kcp.io/") && strings.Contains(r.URL.Path, "/apiexports/"):
		answer(w, Object{"status": Object{"identityHash": "h-" + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]}})
	case strings.HasPrefix(r.URL.Path, "/clusters/*/apis/"), r.URL.Path == "/clusters/root/apis/core.kcp.io/v1alpha1/shards":
		if !s.allowed(r) {
			http.Error(w, "wildcard requests need system:masters", http.StatusForbidden)
			return
		}
		resource, _, _ := strings.Cut(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], ":")
		if many := s.many.Load(); many != nil {
			if list, ok := (*many)(resource); ok {
				list.ServeHTTP(w, r)
				return
			}
		}
		s.serveStore(w, r, s.store(resource))
	case r.URL.Path == adminShards && s.watcher(r):
		s.serveStore(w, r, s.kcp.Root.store("shards"))
	case s.lookedUp(w, r):
	case s.reviewed(w, r):
	case s.selfReviewed(w, r):
	case s.publishes(w, r):
	case s.streams(w, r):
	default:
		s.Requests.Add(1)
		if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			address := at.String()
			s.At.Store(&address)
		}
		s.whoAmI(w, r)
	}
}

// adminShards is where every shard of kcp 0.34 serves all Shard objects.
const adminShards = "/services/admin/apis/core.kcp.io/v1alpha1/shards"

// watcher reports whether the caller may watch everything.
func (s *Shard) watcher(r *http.Request) bool {
	return s.verified(r, s.users) && len(r.TLS.PeerCertificates[0].Subject.Organization) > 0 && r.TLS.PeerCertificates[0].Subject.Organization[0] == "system:masters"
}

func (s *Shard) verified(r *http.Request, roots *x509.CertPool) bool {
	if len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	_, err := r.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

func (s *Shard) whoAmI(w http.ResponseWriter, r *http.Request) {
	me := WhoAmI{Shard: s.Name, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header.Clone()}
	me.Header.Set("Host", r.Host)
	if s.verified(r, s.proxies) {
		if resp, ok, err := s.headers.AuthenticateRequest(r); err == nil && ok {
			me.User, me.UID, me.Groups, me.Extra = resp.User.GetName(), resp.User.GetUID(), resp.User.GetGroups(), resp.User.GetExtra()
		}
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.webSocket(w, r, me)
		return
	}
	answer(w, me)
}

// webSocket sends me as the first message of a WebSocket.
func (s *Shard) webSocket(w http.ResponseWriter, r *http.Request, me WhoAmI) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	_ = c.WriteJSON(me)
	_ = c.Close()
}

// serveStore lists, or watches, from the beginning or from now.
func (s *Shard) serveStore(w http.ResponseWriter, r *http.Request, st *store) {
	query := r.URL.Query()
	if query.Get("watch") == "" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(st.list())
		return
	}
	objects, version, events, stop := st.watch()
	defer stop()
	initial := query.Get("sendInitialEvents") == "true"
	if from := query.Get("resourceVersion"); !initial && from != fmt.Sprint(version) {
		w.WriteHeader(http.StatusGone) // it keeps no history
		return
	}
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w)
	if initial {
		for _, o := range objects {
			_, _ = w.Write(eventOf("ADDED", o).line)
		}
		_, _ = w.Write(st.bookmark(version).line)
	}
	for {
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			_, _ = w.Write(e.line)
		}
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
