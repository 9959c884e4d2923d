package main

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// peerConfigs loads --shard-peer-kubeconfig. As in kcp every cluster of a file
// is a peer, once, and the file's current context has the credentials for all
// of them.
func peerConfigs(paths []string) ([]*rest.Config, error) {
	var peers []*rest.Config
	seen := map[string]bool{}
	for _, path := range paths {
		file, err := clientcmd.LoadFromFile(path)
		if err != nil {
			return nil, fmt.Errorf("--shard-peer-kubeconfig %q: %w", path, err)
		}
		if len(file.Clusters) == 0 {
			return nil, fmt.Errorf("--shard-peer-kubeconfig %q names no cluster; every cluster in it is a peer", path)
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
