package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
)

// routingOptions say where requests go.
type routingOptions struct {
	mappingFile    string
	mountHostsFile string
	externalURLs   []string
}

func (o *routingOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.mappingFile, "mapping-file", "", "Required. YAML file that maps paths to backends; /clusters/ leads to the shards.")
	fs.StringVar(&o.mountHostsFile, "mount-hosts-file", "", "YAML file of hosts outside kcp that workspaces may mount, each with a CA, and with a client certificate if the host is to get the caller's identity. Re-read when it changes. Empty means that mounted hosts never get the caller's identity.")
	fs.StringArrayVar(&o.externalURLs, "external-url", nil, "URL at which clients reach this proxy. A mount below it gives callers only what they could reach here directly, and login discovery publishes it. May be repeated. For mounts, the base and external URLs of all shards are always included.")
}

// shardOptions say how to reach the shards.
type shardOptions struct {
	kubeconfig      string // for every shard
	rootKubeconfig  string
	peerKubeconfigs []string
}

func (o *shardOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "shards-kubeconfig", "", "Required. Kubeconfig for watching workspaces on every shard. The proxy uses each shard's base URL as the server, so the kubeconfig needs none.")
	fs.StringVar(&o.rootKubeconfig, "root-kubeconfig", "", "Kubeconfig of the root shard, which has the Shard objects. Empty means the default locations of a kubeconfig, then the pod's service account.")
	fs.StringArrayVar(&o.peerKubeconfigs, "shard-peer-kubeconfig", nil, "Kubeconfig whose clusters are shards that serve the full list of shards (from kcp 0.34 on); preferred to the root shard. Once one has responded, every listed shard may be asked as well, with the first kubeconfig's credentials. They need the group system:kcp:admin. May be repeated.")
}

func (o *shardOptions) validate() error {
	if o.kubeconfig == "" {
		return errors.New("--shards-kubeconfig is required: the kubeconfig for watching workspaces on every shard")
	}
	return nil
}

// debugOptions say on which further listeners there are pages for operators.
type debugOptions struct {
	profilerAddress string
	address         string
}

func (o *debugOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.profilerAddress, "profiler-address", "", "[address]:port for Go's profiler, without authentication. Empty means off.")
	fs.StringVar(&o.address, "debug-address", "", "Loopback address:port, or unix:///path of a socket, for /statusz, /flagz, /metrics and explanations without TLS or authentication, for use when root is down and cannot authorize readers. Empty means off.")
}

// limitOptions bound what clients may take up.
type limitOptions struct {
	maxInFlight    int
	maxConnections int
	balancers      []string
}

func (o *limitOptions) flags(fs *pflag.FlagSet) {
	fs.IntVar(&o.maxInFlight, "max-requests-inflight", 4000, "Maximum number of concurrent requests at shards and mapped backends; half of it at any one of them, an eighth in one logical cluster. Further requests get 429 and Retry-After. Watches, other streams and upgrades do not count. Nor do requests that wait for an issuer, a mounted host or their own client. Memory: requests share 128 KiB times this number, or a quarter of the runtime's memory limit if that is less; requests that start a stream, 256 KiB times it or an eighth; open streams, half of the limit. 0 means no limit on any of these.")
	fs.IntVar(&o.maxConnections, "max-connections", 0, "Maximum number of open client connections; further ones are closed on arrival. One client address may have eight times as many as are free. 0 means half of the process's file descriptors, since most requests also need a connection to a shard, or one for each 64 KiB of the runtime's memory limit at startup, if that is less.")
	fs.StringSliceVar(&o.balancers, "proxy-protocol-trusted-cidrs", nil, "Load balancers, as networks, comma-separated, whose connections begin with a PROXY protocol version 2 header, which names the client: for limits, audit and X-Forwarded-For. A connection from one of these networks without such a header is closed, and a header from elsewhere is not believed. List only addresses from which nobody but the load balancers connects. Empty means that connections come from clients themselves.")
}

// servingOptions are for the listener and for its shutdown.
type servingOptions struct {
	*genericoptions.SecureServingOptions
	corsOrigins     []string
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration
}

func (o *servingOptions) flags(fs *pflag.FlagSet) {
	o.AddFlags(fs)
	fs.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 0, "How long to keep serving after SIGTERM while /readyz fails, so that load balancers notice.")
	fs.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 60*time.Second, "How long requests in flight may still run after that delay. Watches are ended within half of it, 10s at most.")
}

func (o *servingOptions) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if v := o.MinTLSVersion; v == "VersionTLS10" || v == "VersionTLS11" {
		fail("--tls-min-version=%s: the proxy does not serve TLS below 1.2 (RFC 8996); use VersionTLS12 or VersionTLS13", v)
	}
	if o.BindPort == 0 {
		fail("--secure-port=0: the proxy serves on no other port; set a port from 1 to 65535")
	}
	if (o.ServerCert.CertKey.CertFile == "") != (o.ServerCert.CertKey.KeyFile == "") {
		fail("--tls-cert-file and --tls-private-key-file must be set together: only one is set")
	}
	if o.shutdownDelay < 0 || o.shutdownTimeout < 0 {
		fail("--shutdown-delay-duration and --shutdown-timeout cannot be negative")
	}
	if _, err := cliflag.TLSCurvePreferences(o.CurvePreferences); err != nil {
		fail("--tls-curve-preferences: %w; its values are Go's numbers of key exchange mechanisms, such as 29 for X25519 (https://pkg.go.dev/crypto/tls#CurveID)", err)
	}
	return errors.Join(append(errs, o.Validate()...)...)
}

func (o *limitOptions) validate() error {
	_, err := o.balancerNetworks()
	errs := []error{err}
	if o.maxConnections < 0 {
		errs = append(errs, fmt.Errorf("--max-connections=%d: must be positive, or 0 for half of the available file descriptors", o.maxConnections))
	}
	if o.maxInFlight < 0 || o.maxInFlight == 1 {
		errs = append(errs, fmt.Errorf("--max-requests-inflight=%d: must be 2 or more, or 0 for no limit", o.maxInFlight))
	}
	return errors.Join(errs...)
}

func (o *limitOptions) balancerNetworks() ([]netip.Prefix, error) {
	return prefixes("proxy-protocol-trusted-cidrs", o.balancers)
}

func (o *routingOptions) validate() error {
	_, err := externalURLs(o.externalURLs)
	if o.mappingFile == "" {
		return errors.Join(errors.New("--mapping-file is required: the YAML file that maps paths to backends"), err)
	}
	return err
}
