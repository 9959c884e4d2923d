package issuertest

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Paths that the issuer serves.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/keys"
)

// Options of an issuer. The zero value is usable.
type Options struct {
	// Algorithm signs tokens unless Sign gets another one; empty means RS256.
	Algorithm jose.SignatureAlgorithm
	// Name, when set, is the issuer URL it claims in its documents and tokens,
	// instead of where it listens: for use with a discoveryURL.
	Name string
}

// Issuer is a running issuer. Its methods are safe for concurrent use.
type Issuer struct {
	opts   Options
	base   string // where it listens
	ca     *CA
	server *http.Server
	done   chan struct{}

	mu          sync.Mutex // guards what follows
	keys        *keyring
	down        bool
	delay       time.Duration
	handlers    map[string]http.HandlerFunc
	document    func(map[string]any)
	discoveries int
	keyFetches  int
}

// New starts an issuer. Close ends it.
func New(opts Options) (*Issuer, error) {
	if opts.Algorithm == "" {
		opts.Algorithm = jose.RS256
	}
	ca, err := NewCA()
	if err != nil {
		return nil, err
	}
	keys, err := newKeyring(opts.Algorithm)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("issuertest: listen: %w", err)
	}
	s := &Issuer{
		opts:     opts,
		base:     "https://" + listener.Addr().String(),
		ca:       ca,
		done:     make(chan struct{}),
		keys:     keys,
		handlers: map[string]http.HandlerFunc{},
	}
	s.server = &http.Server{
		Handler:           s,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{ca.Serving()}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // refused handshakes are what tests do
	}
	go func() {
		defer close(s.done)
		_ = s.server.ServeTLS(&gate{Listener: listener, down: s.isDown}, "", "") // ends with Close
	}()
	return s, nil
}

// URL is the issuer URL, as in its tokens' "iss".
func (s *Issuer) URL() string {
	if s.opts.Name != "" {
		return s.opts.Name
	}
	return s.base
}

// DiscoveryURL is where its discovery document really is.
func (s *Issuer) DiscoveryURL() string { return s.base + DiscoveryPath }

// KeysURL is where its key set really is.
func (s *Issuer) KeysURL() string { return s.base + KeysPath }

// CAPEM is the CA certificate that verifies its serving certificate.
func (s *Issuer) CAPEM() string { return s.ca.PEM() }

// Close stops the issuer and waits until it has.
func (s *Issuer) Close() {
	_ = s.server.Close()
	<-s.done
}

// SetDown makes it cut every new connection (true), or serve again.
func (s *Issuer) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *Issuer) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// SetDelay makes every answer wait first, or until the client has gone.
func (s *Issuer) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Handle replaces what is served at path (DiscoveryPath, KeysPath or another one); nil restores it. Replaced paths still count.
func (s *Issuer) Handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil {
		delete(s.handlers, path)
		return
	}
	s.handlers[path] = h
}

// EditDiscovery has edit change every discovery document before it is served;
// nil stops that.
func (s *Issuer) EditDiscovery(edit func(document map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.document = edit
}

// Discoveries counts requests for the discovery document.
func (s *Issuer) Discoveries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discoveries
}

// KeyFetches counts requests for the key set.
func (s *Issuer) KeyFetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keyFetches
}

// ServeHTTP serves the issuer's endpoints.
func (s *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, delay := s.route(r.URL.Path)
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // no answer, not even an empty one
		}
	}
	handler(w, r)
}

// route counts the request and finds what answers it.
func (s *Issuer) route(path string) (http.HandlerFunc, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch path {
	case DiscoveryPath:
		s.discoveries++
	case KeysPath:
		s.keyFetches++
	}
	if h := s.handlers[path]; h != nil {
		return h, s.delay
	}
	switch path {
	case DiscoveryPath:
		return s.serveDiscovery, s.delay
	case KeysPath:
		return s.serveKeys, s.delay
	}
	return http.NotFound, s.delay
}

func (s *Issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	document := map[string]any{
		"issuer":                                s.URL(),
		"jwks_uri":                              s.KeysURL(),
		"authorization_endpoint":                s.base + "/authorize",
		"token_endpoint":                        s.base + "/token",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(s.opts.Algorithm)},
	}
	s.mu.Lock()
	edit := s.document
	s.mu.Unlock()
	if edit != nil {
		edit(document)
	}
	writeJSON(w, document)
}

func (s *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	keys := s.keys.published()
	s.mu.Unlock()
	writeJSON(w, map[string]any{"keys": keys})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// Claims are a token's claims. A nil value leaves a default claim out.
type Claims map[string]any

// withDefaults adds iss, iat and exp (an hour from now) where they are missing.
func (c Claims) withDefaults(issuer string, now time.Time) Claims {
	out := Claims{"iss": issuer, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(out, c)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// gate cuts new connections while the issuer is down.
type gate struct {
	net.Listener
	down func() bool
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil || !g.down() {
			return conn, err
		}
		_ = conn.Close()
	}
}
