package standin

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// Purpose is what a request to a shard is for, judged by its path.
type Purpose string

// The purposes of a front-proxy's requests.
const (
	ForWatches Purpose = "watches"  // wildcard lists and watches
	ForRoot    Purpose = "root"     // Shards and APIExports in root
	ForReviews Purpose = "reviews"  // SubjectAccessReviews in root
	ForLookUps Purpose = "look-ups" // service accounts and their Secrets
	ForClients Purpose = "clients"  // everything else: what was forwarded
)

func purposeOf(r *http.Request) Purpose {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/clusters/*/"):
		return ForWatches
	case strings.HasPrefix(path, "/clusters/root/apis/apis.kcp.io/"), path == "/clusters/root/apis/core.kcp.io/v1alpha1/shards":
		return ForRoot
	case strings.HasSuffix(path, "/subjectaccessreviews"):
		return ForReviews
	case strings.Contains(path, "/api/v1/namespaces/"):
		return ForLookUps
	}
	return ForClients
}

// called records whose request r is.
func (s *Shard) called(r *http.Request) {
	name := "nobody"
	if len(r.TLS.PeerCertificates) > 0 {
		name = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers == nil {
		s.callers = map[Purpose]map[string]bool{}
	}
	purpose := purposeOf(r)
	if s.callers[purpose] == nil {
		s.callers[purpose] = map[string]bool{}
	}
	s.callers[purpose][name] = true
}

// Callers are the common names of the client certificates that came with
// requests so far, by what these were for.
func (s *Shard) Callers() map[Purpose][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[Purpose][]string{}
	for purpose, names := range s.callers {
		all[purpose] = slices.Sorted(maps.Keys(names))
	}
	return all
}

// KubeconfigFor writes a kubeconfig for the root shard with a certificate of the user,
// who may send requests for the purposes and no others.
func (k *KCP) KubeconfigFor(user string, purposes ...Purpose) (string, error) {
	pair, err := k.ClientCA.Client(k.Dir, user)
	if err != nil {
		return "", err
	}
	k.rights.Store(user, purposes)
	path := filepath.Join(k.Dir, user+".kubeconfig")
	return path, harness.WriteKubeconfig(path, &rest.Config{Host: k.Root.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: k.ServingCA.PEM, CertData: pair.Cert, KeyData: pair.Key}})
}

// allowed reports whether the caller may send the request: members of system:masters
// may, and users of KubeconfigFor within their purposes.
func (s *Shard) allowed(r *http.Request) bool {
	if s.watcher(r) {
		return true
	}
	if !s.verified(r, s.users) {
		return false
	}
	purposes, ok := s.kcp.rights.Load(r.TLS.PeerCertificates[0].Subject.CommonName)
	return ok && slices.Contains(purposes.([]Purpose), purposeOf(r))
}
