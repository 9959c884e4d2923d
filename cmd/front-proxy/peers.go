package main

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// peers follows --shard-peer-kubeconfig. The list of peers is read only once.
func (p *program) peers(paths []string) ([]*rest.Config, error) {
	configs, err := peerConfigs(paths)
	if err != nil {
		return nil, err
	}
	for n, config := range configs {
		f, err := p.follow(fmt.Sprintf("shard-peer-kubeconfig[%d]", n), paths, func() (*rest.Config, error) { return peerConfig(paths, config.Host) })
		if err != nil {
			return nil, err
		}
		configs[n] = f.HTTP1()
	}
	return configs, nil
}

// peerConfig returns the configuration of the peer at host.
func peerConfig(paths []string, host string) (*rest.Config, error) {
	all, err := peerConfigs(paths)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Host == host {
			return c, nil
		}
	}
	return nil, fmt.Errorf("--shard-peer-kubeconfig %q: no longer has the server %q; restart to change peers", paths, host)
}

// peerConfigs loads --shard-peer-kubeconfig. As in kcp, every cluster of a file is a
// peer, counted once, and the file's current context has the credentials for all of
// them.
func peerConfigs(paths []string) ([]*rest.Config, error) {
	var peers []*rest.Config
	seen := map[string]bool{}
	for _, path := range paths {
		file, err := clientcmd.LoadFromFile(path)
		if err != nil {
			return nil, fmt.Errorf("--shard-peer-kubeconfig %q: %w", path, err)
		}
		if len(file.Clusters) == 0 {
			return nil, fmt.Errorf("--shard-peer-kubeconfig %q has no cluster; every cluster in it is a peer", path)
		}
		for _, name := range slices.Sorted(maps.Keys(file.Clusters)) {
			config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
				&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
				&clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Cluster: name}},
			).ClientConfig()
			if err != nil {
				return nil, fmt.Errorf("--shard-peer-kubeconfig %q, cluster %q: %w", path, name, err)
			}
			if !seen[config.Host] {
				seen[config.Host] = true
				peers = append(peers, config)
			}
		}
	}
	return peers, nil
}
