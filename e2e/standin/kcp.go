package standin

import (
	"fmt"
	"path/filepath"
	"sync"

	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// KCP is a set of stand-in shards with the PKI they share. Make one with New.
type KCP struct {
	// Dir has every file.
	Dir string
	// ClientCA signs user certificates, ServingCA serving certificates, and
	// RequestHeaderCA the certificates that may assert an identity at a shard.
	ClientCA, ServingCA, RequestHeaderCA *harness.CA
	// Root is the root shard, named "root"; it holds the logical cluster root.
	Root *Shard
	// Forwarding is the certificate that may assert identities at a shard,
	// Watching the one that may watch everything there.
	Forwarding, Watching harness.KeyPair

	shards []*Shard
	rights sync.Map // user name to []Purpose
}

// New starts the root shard. Close ends everything.
func New(dir string) (*KCP, error) {
	k := &KCP{Dir: dir}
	var err error
	for name, ca := range map[string]**harness.CA{"client-ca": &k.ClientCA, "serving-ca": &k.ServingCA, "requestheader-ca": &k.RequestHeaderCA} {
		if *ca, err = harness.NewCA(dir, name); err != nil {
			return nil, err
		}
	}
	if k.Forwarding, err = k.RequestHeaderCA.Client(dir, "front-proxy"); err != nil {
		return nil, err
	}
	if k.Watching, err = k.ClientCA.Client(dir, "watcher", "system:masters"); err != nil {
		return nil, err
	}
	if k.Root, err = k.AddShard("root"); err != nil {
		return nil, err
	}
	k.Root.PutCluster("root", "root:root", nil)
	return k, nil
}

// AddShard starts one more shard and lists it in root.
func (k *KCP) AddShard(name string) (*Shard, error) {
	s, err := k.startShard(name)
	if err != nil {
		return nil, err
	}
	k.shards = append(k.shards, s)
	k.ListShard(s)
	return s, nil
}

// ListShard puts the shard's object into root, with its address as it is now.
func (k *KCP) ListShard(s *Shard) {
	root := s
	if k.Root != nil {
		root = k.Root
	}
	external := s.ExternalURL
	if external == "" {
		external = s.URL
	}
	root.store("shards").put("root", s.Name, nil, Object{"spec": Object{"baseURL": s.URL, "externalURL": external, "virtualWorkspaceURL": s.URL}})
}

// UnlistShard removes the shard's object from root.
func (k *KCP) UnlistShard(name string) { k.Root.store("shards").remove("root", name) }

// Close ends every shard.
func (k *KCP) Close() {
	for _, s := range k.shards {
		s.Stop()
	}
}

// Kubeconfig writes a kubeconfig for the root shard, with the certificate that may
// watch everything.
func (k *KCP) Kubeconfig() (string, error) {
	path := filepath.Join(k.Dir, "root.kubeconfig")
	return path, harness.WriteKubeconfig(path, &rest.Config{Host: k.Root.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: k.ServingCA.PEM, CertData: k.Watching.Cert, KeyData: k.Watching.Key}})
}

// MappingEntry is an entry of a mapping file for path, with the root shard as
// its backend.
func (k *KCP) MappingEntry(path string) string {
	return fmt.Sprintf("- path: %s\n  backend: %s\n  backend_server_ca: %s\n  proxy_client_cert: %s\n  proxy_client_key: %s\n",
		path, k.Root.URL, k.ServingCA.File, k.Forwarding.CertFile, k.Forwarding.KeyFile)
}
