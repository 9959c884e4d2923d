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
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
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
// does not run anything yet. All wiring is here.
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
	serving, err := p.listen(o)
	if err != nil {
		return nil, err
	}
	addresses := []net.Addr{serving.Listener.Addr()}
	var debug net.Listener
	if o.debug.address != "" {
		if debug, err = debugListener(o.debug.address); err != nil {
			return nil, fmt.Errorf("--debug-address: %w", err)
		}
		addresses = append(addresses, debug.Addr())
	}
	guard, err := o.egress.guard(addresses...)
	if err != nil {
		return nil, err
	}

	if o.debug.profilerAddress != "" {
		run, err := profiler(o.debug.profilerAddress)
		if err != nil {
			return nil, err
		}
		p.add(run)
	}

	config := authn.Config{
		PassOnGroups: o.auth.groups.passOn,
		DropGroups:   o.auth.groups.dropped(),
		Instance:     instanceID(time.Now()),
		ShardClients: o.across.clients(),
		ShardCallers: o.across.callers(),
		EndAtExpiry:  o.across.endAtExpiry,
		APIAudiences: o.auth.apiAudiences(),
	}
	if serving.ClientCA, err = p.certificates(o, &config); err != nil {
		return nil, err
	}
	if err := p.globalTokens(o, &config, everyShard.Config(), idx); err != nil {
		return nil, err
	}
	watches := idx.Watches()
	var types *workspacetypes.Index
	if o.gates.enabled(gateWorkspaceAuthentication) {
		types = p.workspaceTypes(o, guard, idx)
		config.Types = types
		watches = append(watches, types.Watches()...)
	}
	decider, err := authn.New(config)
	if err != nil {
		return nil, err
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
	authorizer, err := accessreview.NewRootAuthorizer(accessreview.RootConfig{Kubeconfig: root.Config(), Metrics: p.metrics})
	if err != nil {
		return nil, err
	}
	login, err := o.loginDiscovery(idx, types, config.Tokens)
	if err != nil {
		return nil, err
	}
	p.metrics.RegisterSources(p.sources)
	settings := o.acrossShards(idx, decider, proxy.Config{
		Routing: routing.Config{
			Mappings:          mappings,
			MappingFile:       o.routing.mappingFile,
			Index:             idx,
			Shards:            idx.Shards,
			ShardFailingSince: watcher.FailingSince,
			ExternalURLs:      must(externalURLs(o.routing.externalURLs)), // validated
			MountHosts:        mountHosts,
			MountDial:         guard.DialContext,
			Log:               log.WithName("proxy"),
		},
		Server: proxy.ServerConfig{
			Serving:         serving,
			MaxConnections:  o.connections(),
			Balancers:       must(o.limits.balancerNetworks()), // validated
			ShutdownDelay:   o.serving.shutdownDelay,
			ShutdownTimeout: o.serving.shutdownTimeout,
		},
		Pages: proxy.PagesConfig{
			Authorizer:     authorizer,
			Explainer:      decider,
			Configurer:     decider,
			Instance:       decider.Refusals().Instance(),
			LoginDiscovery: login,
			Status:         p.status(),
			Flags:          flagValues(o.all),
		},
		Decider:     decider,
		CORSOrigins: o.serving.corsOrigins,
		MaxInFlight: o.limits.maxInFlight,
		Memory:      memoryLimit(),
		Rates:       o.rates.config(decider),
		ShardStatus: watcher.Status,
		Metrics:     p.metrics,
		Log:         log.WithName("proxy"),
	})
	if err := p.observers(&o.observe, &settings); err != nil {
		return nil, err
	}
	front, err := proxy.New(settings)
	if err != nil {
		return nil, err
	}
	p.serve = front.Run
	p.reloads = append(p.reloads, front.Reload)
	p.add(func(ctx context.Context) error { return passOnMemoryLimit(ctx, front.SetMemory) })
	if debug != nil {
		p.add(serveDebug(debug, front.Debug()))
	}
	log.Info("front-proxy starts", "version", version, "address", serving.Listener.Addr().String(),
		"workspaceAuthentication", o.gates.enabled(gateWorkspaceAuthentication))
	return p, nil
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
