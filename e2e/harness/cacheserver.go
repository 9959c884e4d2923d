package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// cacheServer is the kcp process through which shards see each other's objects.
type cacheServer struct {
	kubeconfig string
	process    *Program
}

// startCacheServer starts it and waits until it is ready. Its certificate is
// one it signs itself, which its clients take for the CA.
func (e *Environment) startCacheServer(ctx context.Context) error {
	e.config.Progress("starting the cache server")
	dir := filepath.Join(e.Dir, "cache")
	client, err := e.ClientCA.Client(dir, "cache-client", "system:masters")
	if err != nil {
		return err
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	etcd, err := e.etcdFlags()
	if err != nil {
		return err
	}
	p, err := startProcess("cache server", filepath.Join(e.Logs(), "cache-server.log"), []string{fastEtcd},
		e.config.Binaries.CacheServer, append([]string{
			"--root-directory=" + dir,
			"--embedded-etcd-directory=" + filepath.Join(dir, "etcd-server"),
			"--cert-dir=" + dir,
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", port),
			"--client-ca-file=" + e.ClientCA.File,
		}, etcd...)...)
	if err != nil {
		return err
	}
	e.cache = &cacheServer{kubeconfig: filepath.Join(dir, "cache.kubeconfig"), process: p}
	var ca []byte
	if err := Eventually(ctx, startTimeout, "the cache server's certificate", func(context.Context) error {
		if err := p.Alive(); err != nil {
			return permanentError{err}
		}
		ca, err = os.ReadFile(filepath.Join(dir, "apiserver.crt")) //nolint:gosec // in our work directory
		return err
	}); err != nil {
		return err
	}
	server := fmt.Sprintf("https://localhost:%d", port)
	if err := writeKubeconfig(e.cache.kubeconfig, "cache", server, ca, client.authInfo()); err != nil {
		return err
	}
	return awaitReady(ctx, p, client.config(server, ca))
}

// etcdFlags picks the ports of one more embedded etcd.
func (e *Environment) etcdFlags() ([]string, error) {
	client, err := FreePort()
	if err != nil {
		return nil, err
	}
	peer, err := FreePort()
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("--embedded-etcd-client-port=%d", client),
		fmt.Sprintf("--embedded-etcd-peer-port=%d", peer),
	}, nil
}
