package standin

import (
	"fmt"
	"net/http"
	"strings"
)

// PutServiceAccount puts a ServiceAccount into a logical cluster on this shard;
// the proxy's look-ups find it.
func (s *Shard) PutServiceAccount(cluster, namespace, name, uid string) {
	s.putNamespaced("serviceaccounts", cluster, namespace, name, Object{"metadata": Object{"name": name, "uid": uid}})
}

// PutTokenSecret puts a Secret that holds a legacy service account token.
func (s *Shard) PutTokenSecret(cluster, namespace, name, token string) {
	s.putNamespaced("secrets", cluster, namespace, name,
		Object{"metadata": Object{"name": name, "uid": name + "-uid"}, "data": Object{"token": []byte(token)}})
}

// RemoveServiceAccount removes it.
func (s *Shard) RemoveServiceAccount(cluster, namespace, name string) {
	s.putNamespaced("serviceaccounts", cluster, namespace, name, nil)
}

func (s *Shard) putNamespaced(resource, cluster, namespace, name string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.namespaced == nil {
		s.namespaced = map[string]Object{}
	}
	s.namespaced[fmt.Sprintf("/clusters/%s/api/v1/namespaces/%s/%s/%s", cluster, namespace, resource, name)] = o
}

// lookedUp answers the proxy's own requests for one namespaced object; it returns
// false if r is no such request.
func (s *Shard) lookedUp(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/api/v1/namespaces/") || !s.allowed(r) {
		return false
	}
	s.Lookups.Add(1)
	s.mu.Lock()
	o := s.namespaced[r.URL.Path]
	s.mu.Unlock()
	if o == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		return true
	}
	answer(w, o)
	return true
}
