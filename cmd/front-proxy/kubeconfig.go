package main

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// rootConfig loads --root-kubeconfig; empty means the usual places, then the
// pod's service account.
func rootConfig(path string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--root-kubeconfig %q is no usable kubeconfig (kind: Config, with a current-context): %w", path, err)
	}
	return config, nil
}

// shardsConfig loads --shards-kubeconfig, the identity of the wildcard feeds.
func shardsConfig(path string) (*rest.Config, error) {
	return everyShardConfig("shards-kubeconfig", path)
}

// everyShardConfig loads a kubeconfig that reaches shards wherever they are. Its
// server does not matter, but one without an https server would lose its CA on
// the way.
func everyShardConfig(flag, path string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
		&clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: "https://every.shard"}},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--%s %q is no usable kubeconfig (kind: Config, with a current-context): %w", flag, path, err)
	}
	return config, nil
}
