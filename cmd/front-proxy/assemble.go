package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certs"
	"frontproxy/internal/egress"
	"frontproxy/proxy"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/routing"
)

// assemble makes the program from the flags. It reads every file and listens, but
// does not run anything yet. All wiring is in this file.
func assemble(o *options, log klog.Logger) (*program, error) {
	idx := index.New(clock.RealClock{})
	p := newProgram(log, idx)
	o.notices(log)

	mappings, err := loadMappings(o.routing.mappingFile)
	if err != nil {
		return nil, err
	}
	for _, warning := range append(mappings.Warnings(), mappings.Unserved()...) {
		log.Info(warning)
	}
	root, everyShard, peers, err := p.kcp(o)
	if err != nil {
		return nil, err
	}
	listeners, err := p.listeners(o)
	if err != nil {
		return nil, err
	}
	auth, err := p.authentication(o, listeners, everyShard.Config(), idx)
	if err != nil {
		return nil, err
	}
	watches := idx.Watches()
	if auth.types != nil {
		watches = append(watches, auth.types.Watches()...)
	}
	watcher, err := shards.New(shards.Config{Root: root.HTTP1(), Peers: peers, Shards: everyShard.HTTP1(), Watches: watches, Registry: idx, Metrics: p.metrics.Watches(), Log: log.WithName("shards")})
	if err != nil {
		return nil, err
	}
	p.add(watcher.Run)

	mountHosts, err := p.mountHosts(o)
	if err != nil {
		return nil, err
	}
	pages, err := p.pages(o, auth, root.Config(), idx)
	if err != nil {
		return nil, err
	}
	p.metrics.RegisterSources(p.sources)
	settings := o.acrossShards(idx, auth.decider, proxy.Config{
		Routing: routing.Config{
			Mappings:          mappings,
			MappingFile:       o.routing.mappingFile,
			Index:             idx,
			Shards:            idx.Shards,
			ShardFailingSince: watcher.FailingSince,
			ExternalURLs:      must(externalURLs(o.routing.externalURLs)), // validated
			MountHosts:        mountHosts,
			MountDial:         listeners.guard.DialContext,
			Log:               log.WithName("proxy"),
		},
		Server: proxy.ServerConfig{
			Serving:         listeners.serving,
			MaxConnections:  o.connections(),
			Balancers:       must(o.limits.balancerNetworks()), // validated
			ShutdownDelay:   o.serving.shutdownDelay,
			ShutdownTimeout: o.serving.shutdownTimeout,
		},
		Pages:       pages,
		Decider:     auth.decider,
		CORSOrigins: o.serving.corsOrigins,
		MaxInFlight: o.limits.maxInFlight,
		Memory:      memoryLimit(),
		Rates:       o.rates.config(auth.decider),
		ShardStatus: watcher.Status,
		Metrics:     p.metrics,
		Log:         log.WithName("proxy"),
	})
	if err := p.observers(&o.observe, &settings); err != nil {
		return nil, err
	}
	if err := p.front(settings, listeners.debug); err != nil {
		return nil, err
	}
	log.Info("front-proxy starts", "version", version, "address", listeners.serving.Listener.Addr().String(),
		"workspaceAuthentication", o.gates.enabled(gateWorkspaceAuthentication))
	return p, nil
}

// listeners is where the program listens, and the guard that keeps tenants' URLs away from there.
type listeners struct {
	serving *server.SecureServingInfo
	debug   net.Listener // nil: none
	guard   *egress.Guard
}

func (p *program) listeners(o *options) (*listeners, error) {
	serving, err := p.listen(o)
	if err != nil {
		return nil, err
	}
	l := &listeners{serving: serving}
	addresses := []net.Addr{serving.Listener.Addr()}
	if o.debug.address != "" {
		if l.debug, err = debugListener(o.debug.address); err != nil {
			return nil, fmt.Errorf("--debug-address: %w", err)
		}
		addresses = append(addresses, l.debug.Addr())
	}
	if l.guard, err = o.egress.guard(addresses...); err != nil {
		return nil, err
	}
	if o.debug.profilerAddress != "" {
		run, err := profiler(o.debug.profilerAddress)
		if err != nil {
			return nil, err
		}
		p.add(run)
	}
	return l, nil
}

// authentication is what proves who is asking.
type authentication struct {
	decider *authn.Authenticator
	types   *workspacetypes.Index // nil: workspace types have no authenticators
	tokens  []token.Authenticator // the global ones
}

// authentication makes the authenticators, and has the listener ask for the certificates that
// they accept.
func (p *program) authentication(o *options, l *listeners, everyShard *rest.Config, idx *index.Index) (*authentication, error) {
	config := authn.Config{
		PassOnGroups: o.auth.groups.passOn,
		DropGroups:   o.auth.groups.dropped(),
		Instance:     instanceID(time.Now()),
		ShardClients: o.across.clients(),
		ShardCallers: o.across.callers(),
		EndAtExpiry:  o.across.endAtExpiry,
		APIAudiences: o.auth.apiAudiences(),
	}
	var err error
	if l.serving.ClientCA, err = p.certificates(o, &config); err != nil {
		return nil, err
	}
	if err := p.globalTokens(o, &config, everyShard, idx); err != nil {
		return nil, err
	}
	a := &authentication{tokens: config.Tokens}
	if o.gates.enabled(gateWorkspaceAuthentication) {
		a.types = p.workspaceTypes(o, l.guard, idx)
		config.Types = a.types
	}
	a.decider, err = authn.New(config)
	return a, err
}

// pages has what the proxy answers by itself about its state and decisions.
func (p *program) pages(o *options, auth *authentication, root *rest.Config, idx *index.Index) (proxy.PagesConfig, error) {
	authorizer, err := accessreview.NewRootAuthorizer(accessreview.RootConfig{Kubeconfig: root, Metrics: p.metrics})
	if err != nil {
		return proxy.PagesConfig{}, err
	}
	login, err := o.loginDiscovery(idx, auth.types, auth.tokens)
	if err != nil {
		return proxy.PagesConfig{}, err
	}
	return proxy.PagesConfig{
		Authorizer:     authorizer,
		Explainer:      auth.decider,
		Configurer:     auth.decider,
		Instance:       auth.decider.Refusals().Instance(),
		LoginDiscovery: login,
		Status:         p.status(),
		Flags:          flagValues(o.all),
	}, nil
}

// front makes the proxy itself, and serves its pages at the debug address; a nil debug: there is none.
func (p *program) front(settings proxy.Config, debug net.Listener) error {
	front, err := proxy.New(settings)
	if err != nil {
		return err
	}
	p.serve = front.Run
	p.reloads = append(p.reloads, front.Reload)
	p.add(func(ctx context.Context) error { return passOnMemoryLimit(ctx, front.SetMemory) })
	if debug != nil {
		p.add(serveDebug(debug, front.Debug()))
	}
	return nil
}

// certificates follows the CA bundles and returns those that the listener advertises;
// nil if there are none.
func (p *program) certificates(o *options, config *authn.Config) (dynamiccertificates.CAContentProvider, error) {
	var all []dynamiccertificates.CAContentProvider
	load := func(role, flag, file string) (*certs.Bundle, error) {
		ca, err := certs.NewBundle(flag, file, nil, p.log.WithName("certificates"))
		if err != nil {
			return nil, err
		}
		p.follows(flag, ca)
		p.sources.Certificates = append(p.sources.Certificates, certs.Source{Role: role, Source: flag, PEM: ca.CurrentCABundleContent})
		all = append(all, ca)
		return ca, nil
	}
	a := &o.auth.certificates
	if a.clientCA != "" {
		ca, err := load("client-ca", "client-ca-file", a.clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = ca
	}
	if a.requestHeaderCA != "" {
		ca, err := load("requestheader-ca", "requestheader-client-ca-file", a.requestHeaderCA)
		if err != nil {
			return nil, err
		}
		trusted := a.requestHeader
		trusted.CAs = ca
		config.RequestHeader = &trusted
	}
	if len(all) == 0 {
		return nil, nil
	}
	return dynamiccertificates.NewUnionCAContentProvider(all...), nil
}

// workspaceTypes makes the authenticators of workspace types.
func (p *program) workspaceTypes(o *options, guard *egress.Guard, idx *index.Index) *workspacetypes.Index {
	pool := issuer.NewPool(issuer.Config{Egress: guard, Log: p.log.WithName("issuers")})
	p.add(pool.Run)
	config := workspacetypes.Config{
		Issuers:           pool,
		Placement:         placement{idx},
		DisallowedIssuers: o.auth.disallowedIssuers(),
		LoginDiscovery:    o.loginDiscoveryOn(),
		Log:               p.log.WithName("types"),
	}
	if o.all.Changed("api-audiences") && o.gates.enabled(gateWorkspaceTokenAPIAudiences) {
		config.RequireAudiences = o.auth.tokens.audiences
	}
	types := workspacetypes.New(config)
	p.add(types.Run)
	p.sources.Issuers["workspace"], p.sources.Configurations = pool.Counts, types.Counts
	p.details.Issuers["workspace"], p.details.Configurations = pool.Status, types.Status
	return types
}

// placement returns the name of the shard that holds a cluster.
type placement struct{ idx *index.Index }

func (p placement) ShardOf(cluster string) (string, bool) {
	shard, err := p.idx.Holder(cluster)
	if err != nil {
		return "", false
	}
	return shard.Name, true
}

func loadMappings(file string) (*routing.Mappings, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's file
	if err != nil {
		return nil, fmt.Errorf("--mapping-file: %w", err)
	}
	return routing.LoadMappings(file, data, os.ReadFile)
}

// instance returns the name of this process: in Kubernetes the pod's name.
func instance() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "front-proxy"
	}
	return name
}

// instanceID returns the instance and its start time, so that a restarted container
// does not answer for refusals of the process before it.
func instanceID(started time.Time) string {
	return instance() + "-" + strconv.FormatInt(started.Unix(), 36)
}

// notices warns about flags that are accepted but do not do what one might expect.
func (o *options) notices(log klog.Logger) {
	var withoutEffect []string
	oidcFlags := false
	o.all.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "anonymous-auth", "service-account-jwks-uri", "service-account-max-token-expiration", "service-account-extend-token-expiration":
			withoutEffect = append(withoutEffect, "--"+f.Name)
		}
		oidcFlags = oidcFlags || strings.HasPrefix(f.Name, "oidc-")
	})
	if len(withoutEffect) > 0 {
		log.Info("Flags without effect", "flags", strings.Join(withoutEffect, " "))
	}
	if text := o.gates.warning(); text != "" {
		log.Info(text)
	}
	for flag, groups := range o.auth.groups.quoted {
		log.Info("Split a quoted list in a flag at its commas; remove the quotes from the argument", "flag", flag, "groups", strings.Join(groups, ","))
	}
	if len(o.loginClients) > 0 && !o.loginDiscoveryOn() {
		log.Info("--login-client has no effect without --feature-gates=LoginDiscovery=true")
	}
	for _, note := range o.unusable() {
		log.Info("A value of a flag has no effect or is refused", "note", note)
	}
	if o.auth.oidc.config != "" && oidcFlags {
		log.Info("--authentication-config replaces the --oidc-* flags, which have no effect")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
