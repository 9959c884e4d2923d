package main

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"frontproxy/internal/certs"
	"frontproxy/internal/kubeconfig"
)

// follow follows a kubeconfig, and reports its client certificate and whether it can
// be read. name is its flag.
func (p *program) follow(name string, paths []string, load func() (*rest.Config, error)) (*kubeconfig.DynamicConfig, error) {
	f, err := kubeconfig.NewDynamicConfig(name, paths, load, nil, p.log.WithName("kubeconfigs"))
	if err != nil {
		return nil, err
	}
	p.followsKubeconfig(name, f)
	return f, nil
}

// followsKubeconfig does for a kubeconfig what follows does, and also reports its
// client certificate.
func (p *program) followsKubeconfig(flag string, f *kubeconfig.DynamicConfig) {
	p.follows(flag, f)
	p.sources.Certificates = append(p.sources.Certificates, certs.Source{Role: "client", Source: flag, PEM: f.Certificate})
}

// everyShard follows a kubeconfig for all shards, at any address.
func (p *program) everyShard(flag, path string) (*kubeconfig.DynamicConfig, error) {
	return p.follow(flag, []string{path}, func() (*rest.Config, error) { return everyShardConfig(flag, path) })
}

// kcp follows the kubeconfigs of the proxy's own identities in kcp.
func (p *program) kcp(o *options) (root, shards *kubeconfig.DynamicConfig, peers []*rest.Config, err error) {
	paths := rootRules(o.shards.rootKubeconfig).GetLoadingPrecedence()
	if root, err = p.follow("root-kubeconfig", paths, func() (*rest.Config, error) { return rootConfig(o.shards.rootKubeconfig) }); err != nil {
		return nil, nil, nil, err
	}
	if shards, err = p.everyShard("shards-kubeconfig", o.shards.kubeconfig); err != nil {
		return nil, nil, nil, err
	}
	peers, err = p.peers(o.shards.peerKubeconfigs)
	return root, shards, peers, err
}

// rootConfig loads --root-kubeconfig; empty means the default locations, then the
// pod's service account.
func rootConfig(path string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rootRules(path), nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) && path == "":
		return nil, errors.New("--root-kubeconfig is not set, and there is neither a kubeconfig at $KUBECONFIG or ~/.kube/config nor a pod's service account")
	case err != nil:
		return nil, unusableKubeconfig("root-kubeconfig", path, err)
	}
	return config, nil
}

// unusableKubeconfig returns an error that says why the kubeconfig of a flag cannot
// be used.
func unusableKubeconfig(flag, path string, err error) error {
	return fmt.Errorf("--%s %q is not a usable kubeconfig (kind: Config, with a current-context): %w", flag, path, kubeconfig.LoadError(path, err))
}

func rootRules(path string) *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	return rules
}

// everyShardConfig loads a kubeconfig for all shards, at any address. Its server is
// not used, but client-go drops the CA of a configuration without an https server.
func everyShardConfig(flag, path string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
		&clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: "https://every.shard"}},
	).ClientConfig()
	if err != nil {
		return nil, unusableKubeconfig(flag, path, err)
	}
	return config, nil
}
