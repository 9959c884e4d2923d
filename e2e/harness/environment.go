package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// RootShard is the name of the shard that has the root workspace.
const RootShard = "root"

// Config says what to start.
type Config struct {
	// Binaries are what to run; FindBinaries finds them.
	Binaries Binaries
	// Shards are the names of the shards besides root. Empty means none.
	Shards []string
	// VirtualWorkspaceServers are the names of shards whose virtual workspaces run
	// in a server of their own. Their --shard-virtual-workspace-url is left to
	// ShardArgs; the first proxy is told of the servers.
	VirtualWorkspaceServers []string
	// ShardArgs are added to a shard's command line; proxyURL is the proxy's. Nil:
	// nothing is.
	ShardArgs func(shard, proxyURL string) []string
	// Proxy says how the proxy is started.
	Proxy ProxyOptions
	// Dir is the work directory; empty makes a temporary one.
	Dir string
	// Progress is told what is being done, in a few words, also by several
	// goroutines at once; nil means nobody.
	Progress func(message string)
}

// Environment is a running kcp. Only its clients, Logs, NewProxy, AddShard and
// Shard are safe for concurrent use.
type Environment struct {
	// Dir is the work directory.
	Dir string
	// Proxy is the proxy in front of the shards.
	Proxy *Proxy
	// ClientCA signs user certificates, ServingCA what serves, RequestHeaderCA
	// the certificates of proxies.
	ClientCA, ServingCA, RequestHeaderCA *CA

	config     Config
	rootPort   int
	cache      *cacheServer
	admin      KeyPair // O=system:kcp:admin, through the proxy
	shardAdmin KeyPair // O=system:masters, straight to shards
	forwarding KeyPair // signed by RequestHeaderCA
	mounts     KeyPair // signed by RequestHeaderCA, what shards come back to the proxy with
	secrets    Secrets
	refusals   refusals

	shardsMu sync.Mutex // guards shards
	shards   []*Shard   // root first

	retryMu sync.Mutex // guards retried
	retried time.Time  // when kcp was last made to try again what it gave up
}

// Start starts everything and waits until it is ready. When it fails it has
// stopped what it started and kept the work directory, which the error names;
// when ctx was cancelled the directory is removed and the error is ctx's.
func Start(ctx context.Context, config Config) (*Environment, error) {
	if config.Progress == nil {
		config.Progress = func(string) {}
	}
	e := &Environment{Dir: config.Dir, config: config}
	if e.Dir == "" {
		dir, err := os.MkdirTemp("", "front-proxy-e2e-")
		if err != nil {
			return nil, fmt.Errorf("make the work directory: %w", err)
		}
		e.Dir = dir
	}
	if err := e.start(ctx); err != nil {
		e.stopProcesses()
		if ctx.Err() != nil { // not a failure to look into
			return nil, errors.Join(ctx.Err(), os.RemoveAll(e.Dir))
		}
		return nil, fmt.Errorf("%w (the work directory %s is kept, see logs/ in it)", err, e.Dir)
	}
	return e, nil
}

func (e *Environment) start(ctx context.Context) error {
	if err := e.config.Binaries.Ask(ctx); err != nil {
		return err
	}
	e.config.Progress("with kcp " + e.config.Binaries.Version)
	if err := e.makeKeys(); err != nil {
		return err
	}
	var err error
	if e.rootPort, err = FreePort(); err != nil {
		return err
	}
	proxy, err := e.NewProxy("proxy", e.config.Proxy)
	if err != nil {
		return err
	}
	e.Proxy = proxy
	if err := e.writeKubeconfigs(); err != nil {
		return err
	}
	if err := e.startCacheServer(ctx); err != nil {
		return err
	}
	if _, err := e.AddShard(ctx, RootShard); err != nil {
		return err
	}
	// The others need root alone, and wait most of the time.
	failed := make([]error, len(e.config.Shards))
	var all sync.WaitGroup
	for n, name := range e.config.Shards {
		all.Go(func() { _, failed[n] = e.AddShard(ctx, name) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	e.Proxy.args = append(e.Proxy.args, e.VirtualWorkspaceArgs()...)
	if err := e.Proxy.Start(ctx); err != nil {
		return err
	}
	return e.awaitShardObjects(ctx)
}

// Stop ends every process: the proxy, the shards, root, the cache server. It
// removes the work directory, unless keep is set.
func (e *Environment) Stop(keep bool) error {
	e.stopProcesses()
	if keep {
		return nil
	}
	if err := os.RemoveAll(e.Dir); err != nil {
		return fmt.Errorf("remove the work directory: %w", err)
	}
	return nil
}

func (e *Environment) stopProcesses() {
	if e.Proxy != nil {
		_ = e.Proxy.Stop() // it has ended in any case
	}
	for _, s := range slices.Backward(e.allShards()) {
		if v := s.virtual; v != nil {
			v.process.Kill()
		}
		s.Kill() // nobody will read their data again
	}
	if e.cache != nil {
		e.cache.process.Kill()
	}
}

// Logs is the directory of the log files.
func (e *Environment) Logs() string { return filepath.Join(e.Dir, "logs") }

// Binaries are what it runs.
func (e *Environment) Binaries() Binaries { return e.config.Binaries }

// Shard returns a shard by its name, or nil.
func (e *Environment) Shard(name string) *Shard {
	for _, s := range e.allShards() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// allShards are those there are, root first.
func (e *Environment) allShards() []*Shard {
	e.shardsMu.Lock()
	defer e.shardsMu.Unlock()
	return slices.Clone(e.shards)
}

// Admin is kcp-admin (group system:kcp:admin), through the proxy.
func (e *Environment) Admin() *Client { return e.Proxy.Admin() }

// Token is whoever token says, through the proxy.
func (e *Environment) Token(token string) *Client { return e.Proxy.Token(token) }

// AdminKeys is kcp-admin's client certificate.
func (e *Environment) AdminKeys() KeyPair { return e.admin }

// ForwardingKeys is the client certificate with which proxies say at shards who
// is asking.
func (e *Environment) ForwardingKeys() KeyPair { return e.forwarding }

// AtShard is whoever a client certificate says, straight at a shard. It sends
// header besides, with every request.
func (e *Environment) AtShard(s *Shard, keys KeyPair, header http.Header) *Client {
	config := keys.config(s.URL, e.ServingCA.PEM)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return sending{next, header} }
	return NewClient(config)
}

// ShardAdmin is a member of system:masters, straight at a shard.
func (e *Environment) ShardAdmin(s *Shard) *Client {
	return NewClient(e.shardAdmin.config(s.URL, e.ServingCA.PEM))
}

func (e *Environment) makeKeys() (err error) {
	pki := filepath.Join(e.Dir, "pki")
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	for name, ca := range map[string]**CA{"client-ca": &e.ClientCA, "serving-ca": &e.ServingCA, "requestheader-ca": &e.RequestHeaderCA} {
		if *ca, err = NewCA(pki, name); err != nil {
			return err
		}
	}
	if e.admin, err = e.ClientCA.Client(pki, "kcp-admin", "system:kcp:admin"); err != nil {
		return err
	}
	if e.shardAdmin, err = e.ClientCA.Client(pki, "shard-admin", "system:masters"); err != nil {
		return err
	}
	if e.forwarding, err = e.RequestHeaderCA.Client(pki, "kcp-front-proxy"); err != nil {
		return err
	}
	e.mounts, err = e.RequestHeaderCA.Client(pki, mountsProxy)
	return err
}

// mountsProxy is the common name of the certificate with which shards forward
// requests for mounted workspaces to the proxy.
const mountsProxy = "kcp-mounts-proxy"

// What the kcp that runs can do, by what its programs say.

// ReentersMounts reports whether its shards forward requests for mounted workspaces
// to the proxy with a certificate that may assert who is asking.
func (e *Environment) ReentersMounts() bool {
	return e.config.Binaries.hasFlag("mount-proxy-client-cert-file")
}

// Migrates reports whether it moves logical clusters between shards.
func (e *Environment) Migrates() bool { return e.config.Binaries.HasGate(migrationGate) }

// HasLifecycleGroups reports whether the groups system:kcp:initializer:* and
// system:kcp:terminator:* let into workspaces.
func (e *Environment) HasLifecycleGroups() bool {
	return strings.Contains(e.config.Binaries.proxyHelp, "system:kcp:initializer:")
}

const migrationGate = "LogicalClusterMigration"

// gates are arguments for shards and proxies alike, as in kcp's installations:
// the alpha features that tests use and this kcp has.
func (e *Environment) gates() []string {
	var args []string
	for _, gate := range []string{migrationGate, "WorkspaceMounts"} {
		if e.config.Binaries.HasGate(gate) {
			args = append(args, "--feature-gates="+gate+"=true")
		}
	}
	return args
}

// Kubeconfigs that processes are started with.

func (e *Environment) rootKubeconfig() string   { return filepath.Join(e.Dir, "root.kubeconfig") }
func (e *Environment) shardsKubeconfig() string { return filepath.Join(e.Dir, "shards.kubeconfig") }
func (e *Environment) logicalClusterAdmin() string {
	return filepath.Join(e.Dir, "logical-cluster-admin.kubeconfig")
}
func (e *Environment) externalLogicalClusterAdmin() string {
	return filepath.Join(e.Dir, "external-logical-cluster-admin.kubeconfig")
}

// AdminKubeconfig is kcp-admin's, for the root workspace through the proxy.
func (e *Environment) AdminKubeconfig() string { return filepath.Join(e.Dir, "admin.kubeconfig") }

func (e *Environment) writeKubeconfigs() error {
	pki := filepath.Join(e.Dir, "pki")
	internal, err := e.ClientCA.Client(pki, "logical-cluster-admin", "system:kcp:logical-cluster-admin")
	if err != nil {
		return err
	}
	external, err := e.ClientCA.Client(pki, "external-logical-cluster-admin", "system:kcp:external-logical-cluster-admin")
	if err != nil {
		return err
	}
	for _, k := range []struct {
		path, context, server string
		user                  KeyPair
	}{
		{e.logicalClusterAdmin(), "base", loopback(e.rootPort), internal},
		{e.externalLogicalClusterAdmin(), "base", e.Proxy.URL, external},
		{e.rootKubeconfig(), "shard-base", loopback(e.rootPort), e.shardAdmin},
		{e.shardsKubeconfig(), "base", "", e.shardAdmin}, // shards are where their objects say
		{e.AdminKubeconfig(), "root", e.Proxy.URL + "/clusters/root", e.admin},
	} {
		if err := writeKubeconfig(k.path, k.context, k.server, e.ServingCA.PEM, k.user.authInfo()); err != nil {
			return err
		}
	}
	return nil
}

func loopback(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// awaitShardObjects waits until the root workspace lists every shard, which is
// when workspaces can be scheduled to them.
func (e *Environment) awaitShardObjects(ctx context.Context) error {
	e.config.Progress("waiting for the shards to be listed in root")
	return Eventually(ctx, time.Minute, "the shards to be listed in root", func(ctx context.Context) error {
		for _, s := range e.allShards() {
			if err := e.Admin().Get(ctx, "root", Shards, s.Name, nil); err != nil {
				return err
			}
		}
		return nil
	})
}
