package standin

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/e2e/harness"
)

// PublishKeys makes the shard publish the public keys of pairs as those it
// verifies service account tokens with.
func (s *Shard) PublishKeys(pairs ...harness.KeyPair) error {
	var set jose.JSONWebKeySet
	for _, p := range pairs {
		block, _ := pem.Decode(p.Key)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("publish keys of shard %s: %w", s.Name, err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: private.(crypto.Signer).Public(), Use: "sig"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = &set
	return nil
}

// publishes answers a request for the shard's keys; it returns false if r is for
// something else.
func (s *Shard) publishes(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/openid/v1/jwks") {
		return false
	}
	s.mu.Lock()
	set := s.published
	s.mu.Unlock()
	if set == nil || !s.watcher(r) {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	answer(w, set)
	return true
}

// streams answers a client's watch with one event, and keeps it open until it is
// ended; it returns false if r is no watch.
func (s *Shard) streams(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Query().Get("watch") == "" || !s.verified(r, s.proxies) {
		return false
	}
	answer(w, Object{"type": "BOOKMARK"})
	_ = http.NewResponseController(w).Flush() // a client that is gone needs none
	<-r.Context().Done()
	return true
}
