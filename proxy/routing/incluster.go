package routing

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"frontproxy/lookup"
)

// maxRoutingToken bounds the tokens that are decoded to route by.
const maxRoutingToken = 64 << 10

// prefixTokenCluster puts the logical cluster of a service account's token before the path, because
// pods know the address of their API server, but no cluster. It does so only for paths that
// match no mapping except "/". The claim is unverified and is used for routing only. The error
// wraps lookup.ErrAmbiguous.
func (m *Mappings) prefixTokenCluster(r *http.Request, path string) (string, error) {
	first, _ := lookup.Segment(path)
	if first == "clusters" || first == "services" || r.Header.Get("X-Kubernetes-Sharded-Request") != "" {
		return path, nil
	}
	cluster := ClaimedCluster(bearerOf(r.Header))
	if cluster == "" {
		return path, nil
	}
	e, err := m.find(path)
	if err != nil || e != nil && len(e.pattern) > 0 {
		return path, err
	}
	return "/clusters/" + cluster + path, nil
}

// ClaimedCluster returns the logical cluster in a service account's token; empty if there is
// no valid one. It is unverified, and proves nothing.
func ClaimedCluster(token string) string {
	if token == "" || len(token) > maxRoutingToken {
		return ""
	}
	var claims struct {
		Bound struct {
			Cluster string `json:"clusterName"`
		} `json:"kubernetes.io"`
		Legacy string `json:"kubernetes.io/serviceaccount/clusterName"`
	}
	if json.Unmarshal(payload(token), &claims) != nil {
		return ""
	}
	cluster := cmp.Or(claims.Bound.Cluster, claims.Legacy)
	if lookup.ValidateClusterPath(cluster) != nil {
		return ""
	}
	return cluster
}

// bearerOf returns the request's bearer token, unverified, for routing.
func bearerOf(header http.Header) string {
	if v := header["Authorization"]; len(v) == 1 {
		scheme, token, _ := strings.Cut(v[0], " ")
		if strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

// payload decodes a JWT's claims without trusting them; nil when it has none.
func payload(token string) []byte {
	_, rest, _ := strings.Cut(token, ".")
	encoded, _, ok := strings.Cut(rest, ".")
	claims, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return nil
	}
	return claims
}
