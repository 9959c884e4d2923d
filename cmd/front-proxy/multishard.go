package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"frontproxy/authn"
	"frontproxy/authn/clientcert"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/proxy"
)

// multiShardOptions are our own flags that concern all shards.
type multiShardOptions struct {
	virtualWorkspaces bool
	shardClients      []string
	shardCallers      []string
	shardServers      map[string]string
	endAtExpiry       bool
}

func (o *multiShardOptions) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.virtualWorkspaces, "shard-virtual-workspaces", false, "Serve the virtual workspaces of every shard at /shards/<shard>/services/, so that a shard's --shard-virtual-workspace-url can be https://<this proxy>/shards/<shard>/ (with the trailing slash).")
	fs.StringToStringVar(&o.shardServers, "shard-virtual-workspace-server", nil, "Virtual workspace servers of shards that do not embed them and whose --shard-virtual-workspace-url is this proxy's, comma-separated, each as shard=https://host:port.")
	fs.StringSliceVar(&o.shardClients, "shard-client-common-names", nil, "Common names of the shards' own client certificates, comma-separated, each as shard=name, or as name for every shard. Below /shards/<shard>/services/ these certificates keep the groups that --authentication-drop-groups removes elsewhere.")
	fs.StringSliceVar(&o.shardCallers, "shard-caller-common-names", nil, "Common names of certificates of --requestheader-client-ca-file with which shards assert, in X-Remote-* headers, the caller whose request they forward (kcp since August 2026), comma-separated, each as shard=name. Below /shards/<shard>/services/ such a request has the caller's identity. These certificates can assert nobody anywhere else, and must not be in --requestheader-allowed-names.")
	fs.BoolVar(&o.endAtExpiry, "end-streams-at-expiry", false, "End watches and upgraded connections when the token or certificate that opened them expires. They end within 30 s of its revocation in any case.")
}

func (o *multiShardOptions) validate() error {
	_, err := o.servers()
	errs := []error{err}
	if (len(o.shardClients) > 0 || len(o.shardCallers) > 0 || len(o.shardServers) > 0) && !o.virtualWorkspaces {
		errs = append(errs, errors.New("--shard-client-common-names, --shard-caller-common-names and --shard-virtual-workspace-server have no effect without --shard-virtual-workspaces; set it, too"))
	}
	for _, text := range o.shardClients {
		if text == "" || strings.HasPrefix(text, "=") || strings.HasSuffix(text, "=") {
			errs = append(errs, fmt.Errorf("--shard-client-common-names: %q must be shard=name, or name: the common name of its certificate", text))
		}
	}
	for _, text := range o.shardCallers {
		if shard, name, _ := strings.Cut(text, "="); shard == "" || name == "" {
			errs = append(errs, fmt.Errorf("--shard-caller-common-names: %q must be shard=name: a certificate may assert callers for one shard only", text))
		}
	}
	return errors.Join(errs...)
}

// clients returns the shards' own certificates.
func (o *multiShardOptions) clients() []clientcert.ShardClient {
	var all []clientcert.ShardClient
	for _, text := range o.shardClients {
		shard, name, ok := strings.Cut(text, "=")
		if !ok {
			shard, name = "", text
		}
		all = append(all, clientcert.ShardClient{CommonName: name, Shard: shard})
	}
	return all
}

// callers returns the certificates with which shards assert their callers.
func (o *multiShardOptions) callers() []clientcert.ShardCaller {
	var all []clientcert.ShardCaller
	for _, text := range o.shardCallers {
		shard, name, _ := strings.Cut(text, "=") // validated
		all = append(all, clientcert.ShardCaller{CommonName: name, Shard: shard})
	}
	return all
}

// servers parses the URLs of virtual workspace servers.
func (o *multiShardOptions) servers() (map[string]*url.URL, error) {
	all := make(map[string]*url.URL, len(o.shardServers))
	for shard, text := range o.shardServers {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("--shard-virtual-workspace-server: shard %s: %w", shard, err)
		case shard == "" || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return nil, fmt.Errorf("--shard-virtual-workspace-server: shard %q: %q must be like https://host:6444, optionally with a path", shard, text)
		case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/shards/"+shard):
			return nil, fmt.Errorf("--shard-virtual-workspace-server: shard %q: %q leads back to a front-proxy; use the server's own address", shard, text)
		}
		all[shard] = u
	}
	return all, nil
}

// acrossShards adds the settings of these flags and gates to a proxy's configuration.
func (o *options) acrossShards(idx *index.Index, decider *authn.Authenticator, c proxy.Config) proxy.Config {
	c.Recheck, c.Moves = decider.Recheck, idx
	if o.across.virtualWorkspaces {
		c.Routing.ShardServices, c.Routing.ShardServers = idx.ShardNamed, must(o.across.servers()) // validated
	}
	if o.gates.enabled(gateServiceAccountOwners) {
		c.Owner = decider.AsOwner
	}
	if o.gates.enabled(gateWorkspaceTokenReviews) {
		c.Review = decider.Review
	}
	return c
}

// serviceAccounts makes the authenticator of service account tokens.
func (p *program) serviceAccounts(a *authOptions, everyShard *rest.Config, idx *index.Index) (token.Authenticator, error) {
	config := serviceaccount.Config{Issuers: a.accounts.issuers, Audiences: a.tokens.audiences, Refused: p.metrics.ServiceAccountRefused}
	if len(a.accounts.keyFiles) > 0 {
		keys, err := serviceaccount.NewKeyFiles(a.accounts.keyFiles, nil, p.log.WithName("service-account-keys"))
		if err != nil {
			return nil, err
		}
		p.follows("service-account-key-file", keys)
		config.Keys = keys
	}
	client := everyShard
	if path := a.accounts.lookupKubeconfig; path != "" {
		lookups, err := p.everyShard("service-account-lookup-kubeconfig", path)
		if err != nil {
			return nil, err
		}
		client = lookups.Config()
	}
	accounts, err := serviceaccount.NewAccountClient(serviceaccount.AccountClientConfig{Shards: idx, Client: client, Grace: a.accounts.grace})
	if err != nil {
		return nil, err
	}
	if a.accounts.lookup {
		config.Accounts = accounts
	}
	if a.accounts.keysFromShards {
		keys, err := serviceaccount.NewShardKeys(serviceaccount.ShardKeysConfig{Shards: idx.Shards, Client: client, Log: p.log.WithName("service-account-keys")})
		if err != nil {
			return nil, err
		}
		p.add(keys.Run)
		p.details.ShardKeys, p.sources.ShardKeys = keys.Status, keys.Status
		config.FromShards = &serviceaccount.ShardKeyVerifier{Keys: keys, Placement: idx, Accounts: accounts}
	}
	return serviceaccount.New(config)
}
