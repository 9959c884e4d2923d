package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"frontproxy/authn"
	"frontproxy/authn/serviceaccount"
	"frontproxy/index"
	"frontproxy/proxy"
)

// acrossOptions are flags of ours for what concerns every shard at once.
type acrossOptions struct {
	virtualWorkspaces bool
	shardClients      []string
	endAtExpiry       bool
}

func (o *acrossOptions) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.virtualWorkspaces, "shard-virtual-workspaces", false, "Serve the virtual workspaces of every shard at /shards/<shard>/services/, so that a shard's --shard-virtual-workspace-url can be https://<this proxy>/shards/<shard>/ (with the slash at its end).")
	fs.StringSliceVar(&o.shardClients, "shard-client-names", nil, "Common names of the shards' own client certificates, comma-separated: below /shards/<shard>/services/ they keep the groups that --authentication-drop-groups takes elsewhere.")
	fs.BoolVar(&o.endAtExpiry, "end-streams-at-expiry", false, "End watches and upgraded connections when the token or certificate that opened them ends. They end within 30 s of its revocation in any case.")
}

func (o *acrossOptions) validate() []error {
	if len(o.shardClients) > 0 && !o.virtualWorkspaces {
		return []error{errors.New("--shard-client-names has no meaning without --shard-virtual-workspaces")}
	}
	return nil
}

// acrossShards adds to a proxy's configuration what these flags and gates ask
// for.
func (o *options) acrossShards(idx *index.Index, decider *authn.Authenticator, c proxy.Config) proxy.Config {
	c.Recheck = decider.Recheck
	if o.across.virtualWorkspaces {
		c.ShardServices = idx.ShardNamed
	}
	if o.gates.enabled(gateGlobalServiceAccounts) {
		c.Owner = decider.AsOwner
	}
	return c
}

// accountsAcross are the flags of service accounts of every shard.
type accountsAcross struct {
	keysFromShards bool
	grace          time.Duration
}

func (o *accountsAcross) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.keysFromShards, "service-account-keys-from-shards", false, "Verify service account tokens with the keys that each shard publishes, for the accounts of the workspaces it holds. Works beside --service-account-key-file, whose keys are good for every account.")
	fs.DurationVar(&o.grace, "service-account-lookup-grace", 0, "How long a service account that was found counts as found while its shard cannot be asked. 0 means that its tokens are then answered with 503.")
}

func (o *accountsAcross) validate() []error {
	if o.grace < 0 {
		return []error{fmt.Errorf("--service-account-lookup-grace=%v: cannot be negative", o.grace)}
	}
	return nil
}

// serviceAccountsOn says whether anything verifies service account tokens.
func (a *authOptions) serviceAccountsOn() bool {
	return len(a.serviceAccountKeys) > 0 || a.accountsAcross.keysFromShards
}

// serviceAccounts makes the authenticator of service account tokens.
func (p *program) serviceAccounts(a *authOptions, everyShard *rest.Config, idx *index.Index) (authn.TokenAuthenticator, error) {
	config := serviceaccount.Config{Issuers: a.serviceAccountIssuers, Audiences: a.audiences}
	if len(a.serviceAccountKeys) > 0 {
		keys, err := serviceaccount.NewKeyFiles(a.serviceAccountKeys, p.log.WithName("service-account-keys"))
		if err != nil {
			return nil, err
		}
		p.add(keys.Run)
		p.sources.Reloads["service-account-key-file"] = keys.LastError
		config.Keys = keys
	}
	client := everyShard
	if path := a.serviceAccountLookupKubeconfig; path != "" {
		var err error
		if client, err = everyShardConfig("service-account-lookup-kubeconfig", path); err != nil {
			return nil, err
		}
	}
	home, err := serviceaccount.NewShardHome(serviceaccount.HomeConfig{Shards: idx, Client: client, Grace: a.accountsAcross.grace})
	if err != nil {
		return nil, err
	}
	if a.serviceAccountLookup {
		config.Home = home
	}
	if a.accountsAcross.keysFromShards {
		keys, err := serviceaccount.NewShardKeys(serviceaccount.ShardKeysConfig{Shards: idx.Shards, Client: everyShard, Log: p.log.WithName("service-account-keys")})
		if err != nil {
			return nil, err
		}
		p.add(keys.Run)
		config.FromShards = &serviceaccount.FromShards{Keys: keys, Placement: idx, Home: home}
	}
	accounts, err := serviceaccount.New(config)
	if err != nil {
		return nil, err
	}
	return authn.ServiceAccounts(accounts, p.metrics.ServiceAccountRefused), nil
}
