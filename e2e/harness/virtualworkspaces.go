package harness

import (
	"context"
	"fmt"
	"path/filepath"
)

// virtualServer is a process that serves the virtual workspaces of one shard,
// which then has none embedded.
type virtualServer struct {
	shard   *Shard
	url     string
	args    []string
	process *Program
}

// newVirtualServer picks its port and makes its keys.
func newVirtualServer(s *Shard) (*virtualServer, error) {
	e := s.env
	if !isFile(e.config.Binaries.VirtualWorkspaces) {
		return nil, fmt.Errorf("%s is missing: `make bin/%s` builds it with kcp", e.config.Binaries.VirtualWorkspaces, filepath.Base(filepath.Dir(e.config.Binaries.VirtualWorkspaces)))
	}
	dir := filepath.Join(s.dir, "virtual-workspaces")
	serving, err := e.ServingCA.Serving(dir, "serving")
	if err != nil {
		return nil, err
	}
	client, err := e.ClientCA.Client(dir, "virtual-workspaces-"+s.Name, "system:masters")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "shard.kubeconfig")
	if err := writeKubeconfig(kubeconfig, "shard", s.URL, e.ServingCA.PEM, client.authInfo()); err != nil {
		return nil, err
	}
	return &virtualServer{shard: s, url: loopback(port), args: []string{
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + serving.CertFile,
		"--tls-private-key-file=" + serving.KeyFile,
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--external-logical-cluster-admin-kubeconfig=" + e.externalLogicalClusterAdmin(),
		"--cache-kubeconfig=" + e.cache.kubeconfig,
		"--client-ca-file=" + e.ClientCA.File,
		"--requestheader-client-ca-file=" + e.RequestHeaderCA.File,
		"-v=2",
	}}, nil
}

// start starts it and waits until it is ready.
func (v *virtualServer) start(ctx context.Context) error {
	e, name := v.shard.env, "virtual workspaces of "+v.shard.Name
	e.config.Progress("starting the " + name)
	p, err := startProcess(name, v.Log(), nil, e.config.Binaries.VirtualWorkspaces, v.args...)
	if err != nil {
		return err
	}
	v.process = p
	return awaitReady(ctx, p, e.shardAdmin.config(v.url, e.ServingCA.PEM))
}

// Log is its log file.
func (v *virtualServer) Log() string {
	return filepath.Join(v.shard.env.Logs(), "virtual-workspaces-"+v.shard.Name+".log")
}

// VirtualWorkspaceArgs tell a proxy where the virtual workspace servers are that
// Config names.
func (e *Environment) VirtualWorkspaceArgs() []string {
	var args []string
	for _, s := range e.allShards() {
		if s.virtual != nil {
			args = append(args, "--shard-virtual-workspace-server="+s.Name+"="+s.virtual.url)
		}
	}
	return args
}
