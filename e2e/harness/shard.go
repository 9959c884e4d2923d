package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// fastEtcd makes embedded etcd skip fsync: the data need not survive the machine.
const fastEtcd = "UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC=true"

// startTimeout is how long a kcp process may take to become ready. Two loaded
// cores take a minute.
const startTimeout = 4 * time.Minute

// stopGrace is how long a process may take to end when asked.
const stopGrace = 10 * time.Second

// auditPolicy has a shard record who it took the caller of a ConfigMap watch
// for: an upgraded watch can't be asked any other way.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [watch]
  resources: [{group: "", resources: [configmaps]}]
- level: None
`

// Shard is one kcp process with everything embedded.
type Shard struct {
	// Name is the Shard object's name.
	Name string
	// URL is where it listens, as in its Shard object's spec.baseURL.
	URL string
	// ServiceAccountKey signs its service account tokens; the Cert half is the
	// public key.
	ServiceAccountKey KeyPair
	// ClientKeys are its own client certificate: shard-client-<name>, a member of
	// system:masters.
	ClientKeys KeyPair
	// AuditLog has one line of JSON for every ConfigMap watch it answered.
	AuditLog string

	env     *Environment
	dir     string
	args    []string
	process *Program
	virtual *virtualServer // nil: its virtual workspaces are embedded
}

// AddShard starts one more shard and waits until it is ready. The first must
// be RootShard.
func (e *Environment) AddShard(ctx context.Context, name string) (*Shard, error) {
	s := &Shard{Name: name, env: e, dir: filepath.Join(e.Dir, "shard-"+name)}
	s.AuditLog = filepath.Join(s.dir, "audit.log")
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("prepare shard %s: %w", name, err)
	}
	e.shardsMu.Lock()
	e.shards = append(e.shards, s)
	e.shardsMu.Unlock()
	return s, s.Start(ctx)
}

// prepare makes its keys and its command line.
func (s *Shard) prepare() error {
	e := s.env
	serving, err := e.ServingCA.Serving(s.dir, "serving")
	if err != nil {
		return err
	}
	if s.ClientKeys, err = e.ClientCA.Client(s.dir, "shard-client-"+s.Name, "system:masters"); err != nil {
		return err
	}
	if s.ServiceAccountKey, err = newServiceAccountKey(s.dir); err != nil {
		return err
	}
	policy := filepath.Join(s.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	port := e.rootPort // chosen earlier: kubeconfigs name it
	if s.Name != RootShard {
		if port, err = FreePort(); err != nil {
			return err
		}
	}
	s.URL = loopback(port)
	if slices.Contains(e.config.VirtualWorkspaceServers, s.Name) {
		if s.virtual, err = newVirtualServer(s); err != nil {
			return err
		}
	}
	etcd, err := e.etcdFlags()
	if err != nil {
		return err
	}
	s.args = append([]string{
		"start",
		"--shard-name=" + s.Name,
		"--root-directory=" + s.dir,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--shard-base-url=" + s.URL,
		"--shard-external-url=" + e.Proxy.URL,
		"--client-ca-file=" + e.ClientCA.File,
		"--requestheader-client-ca-file=" + e.RequestHeaderCA.File,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--tls-cert-file=" + serving.CertFile,
		"--tls-private-key-file=" + serving.KeyFile,
		"--service-account-key-file=" + s.ServiceAccountKey.CertFile,
		"--service-account-private-key-file=" + s.ServiceAccountKey.KeyFile,
		"--service-account-signing-key-file=" + s.ServiceAccountKey.KeyFile,
		"--logical-cluster-admin-kubeconfig=" + e.logicalClusterAdmin(),
		"--external-logical-cluster-admin-kubeconfig=" + e.externalLogicalClusterAdmin(),
		"--shard-client-cert-file=" + s.ClientKeys.CertFile,
		"--shard-client-key-file=" + s.ClientKeys.KeyFile,
		"--shard-virtual-workspace-ca-file=" + e.ServingCA.File,
		fmt.Sprintf("--run-virtual-workspaces=%t", s.virtual == nil),
		"--cache-kubeconfig=" + e.cache.kubeconfig,
		"--audit-policy-file=" + policy,
		"--audit-log-path=" + s.AuditLog,
		"-v=2",
	}, etcd...)
	if e.ReentersMounts() {
		s.args = append(s.args, "--mount-proxy-client-cert-file="+e.mounts.CertFile, "--mount-proxy-client-key-file="+e.mounts.KeyFile)
	}
	s.args = append(s.args, e.gates()...)
	if e.config.ShardArgs != nil {
		s.args = append(s.args, e.config.ShardArgs(s.Name, e.Proxy.URL)...)
	}
	if s.Name != RootShard {
		s.args = append(s.args, "--root-shard-kubeconfig-file="+e.rootKubeconfig())
	}
	return nil
}

// Start starts it, again if it was stopped, and waits until it is ready. The
// server of its virtual workspaces, if it has one, starts anew with it: one that
// has seen its shard go waits up to a minute before it watches it again, and
// kcp gives up the workspaces that are made meanwhile (see initialization).
func (s *Shard) Start(ctx context.Context) error {
	if s.virtual != nil {
		s.virtual.process.Stop()
	}
	if err := s.startKCP(ctx); err != nil || s.virtual == nil {
		return err
	}
	return s.virtual.start(ctx)
}

func (s *Shard) startKCP(ctx context.Context) error {
	e := s.env
	e.config.Progress("starting shard " + s.Name)
	log := filepath.Join(e.Logs(), "shard-"+s.Name+".log")
	p, err := startProcess("shard "+s.Name, log, []string{fastEtcd}, e.config.Binaries.KCP, s.args...)
	if err != nil {
		return err
	}
	s.process = p
	return awaitReady(ctx, p, e.shardAdmin.config(s.URL, e.ServingCA.PEM))
}

// Stop ends it; its data stays for Start.
func (s *Shard) Stop() { s.process.Stop() }

// Freeze stops the shard's process without ending it, until Thaw: it accepts
// connections and answers nothing. It has stopped when Freeze returns.
func (s *Shard) Freeze() error {
	s.process.signal(syscall.SIGSTOP)
	return Eventually(context.Background(), stopGrace, s.process.name+" to stop", func(context.Context) error {
		return s.process.stopped()
	})
}

// Thaw lets a frozen shard go on.
func (s *Shard) Thaw() { s.process.signal(syscall.SIGCONT) }

// Kill ends the shard at once, as a crash does.
func (s *Shard) Kill() { s.process.Kill() }

// awaitReady waits until /readyz is 200 or the process has ended.
func awaitReady(ctx context.Context, p *Program, config *rest.Config) error {
	client := NewClient(config)
	return Eventually(ctx, startTimeout, p.name+" to be ready", func(ctx context.Context) error {
		if err := p.Alive(); err != nil {
			return permanentError{err}
		}
		return client.Healthy(ctx, "/readyz")
	})
}
