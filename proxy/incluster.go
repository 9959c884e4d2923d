package proxy

import (
	"encoding/json"
	"net/http"

	"frontproxy/lookup"
)

// maxRoutingToken bounds the tokens that are decoded to route by.
const maxRoutingToken = 64 << 10

// inCluster returns the path with the logical cluster of a service account's
// token put before it: pods know their API server's address and no cluster.
// That is done for paths that belong to no mapping but "/". The claim only
// routes; it proves nothing.
func inCluster(r *http.Request, path string, m *Mapping) string {
	if m != nil && len(m.pattern) > 0 || r.Header.Get("X-Kubernetes-Sharded-Request") != "" {
		return path
	}
	first, _ := lookup.Segment(path)
	if first == "clusters" || first == "services" {
		return path
	}
	token := bearerOf(r.Header)
	if token == "" || len(token) > maxRoutingToken {
		return path
	}
	var claims struct {
		Bound struct {
			Cluster string `json:"clusterName"`
		} `json:"kubernetes.io"`
		Legacy string `json:"kubernetes.io/serviceaccount/clusterName"`
	}
	if json.Unmarshal(payload(token), &claims) != nil {
		return path
	}
	cluster := claims.Bound.Cluster
	if cluster == "" {
		cluster = claims.Legacy
	}
	if cluster == "" || lookup.Valid(cluster) != nil {
		return path
	}
	return "/clusters/" + cluster + path
}
