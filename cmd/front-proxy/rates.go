package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"

	"frontproxy/authn"
	"frontproxy/proxy"
	"frontproxy/proxy/ratelimit"
)

// rateOptions bound how many requests a second clients may send.
type rateOptions struct {
	workspace, identity, address ratelimit.Rate
	dryRun                       bool
}

func (o *rateOptions) flags(fs *pflag.FlagSet) {
	fs.Float64Var(&o.workspace.PerSecond, "workspace-requests-per-second", ratelimit.DefaultWorkspace.PerSecond, "How many requests a second the users of one logical cluster may send to this instance on average, all together. Further requests get 429 and Retry-After. A watch counts once, when it starts. Shards and client certificates with the group system:masters are exempt, whether or not the group is forwarded. 0 means no limit.")
	fs.IntVar(&o.workspace.Burst, "workspace-requests-burst", ratelimit.DefaultWorkspace.Burst, "How many requests the users of one logical cluster may send at once, after a pause.")
	fs.Float64Var(&o.identity.PerSecond, "identity-requests-per-second", ratelimit.DefaultIdentity.PerSecond, "How many requests a second one user or service account may send to one logical cluster, or one mapped path without a cluster, through this instance on average. Further requests get 429 and Retry-After, with the exemptions of --workspace-requests-per-second. 0 means no limit.")
	fs.IntVar(&o.identity.Burst, "identity-requests-burst", ratelimit.DefaultIdentity.Burst, "How many requests one user may send to one logical cluster at once, after a pause; more than any client with informers needs to start.")
	fs.Float64Var(&o.address.PerSecond, "address-requests-per-second", 0, "How many requests a second one client address (for IPv6 one /64) may send to this instance on average, authenticated or not. Further requests get 429 before any other work. Leave it off if many clients share an address, behind a NAT or a load balancer that does not say who they are (--proxy-protocol-trusted-cidrs). 0 means no limit.")
	fs.IntVar(&o.address.Burst, "address-requests-burst", ratelimit.DefaultAddressBurst, "How many requests one client address may send at once, after a pause.")
	fs.BoolVar(&o.dryRun, "rate-limit-dry-run", false, "Count and log the requests that the --*-requests-per-second limits would refuse, and serve them.")
}

func (o *rateOptions) validate() error {
	var errs []error
	for _, l := range []struct {
		name string
		rate ratelimit.Rate
	}{{"workspace", o.workspace}, {"identity", o.identity}, {"address", o.address}} {
		switch n := l.rate.PerSecond; {
		case n < 0, math.IsNaN(n), math.IsInf(n, 0):
			errs = append(errs, fmt.Errorf("--%s-requests-per-second=%v: must be positive, or 0 for no limit", l.name, n))
		case n > 0 && l.rate.Burst < 1:
			errs = append(errs, fmt.Errorf("--%s-requests-burst=%d: must be at least 1, or no request passes; to turn the limit off, set --%s-requests-per-second=0", l.name, l.rate.Burst, l.name))
		}
	}
	return errors.Join(errs...)
}

// ratePause lets a client that sends one request after the other, and takes no notice of 429, send
// four a second at most. It is short beside a Retry-After, which is a second at least.
const ratePause = 250 * time.Millisecond

// config returns the limits; decider knows whom they are not for.
func (o *rateOptions) config(decider *authn.Authenticator) proxy.RatesConfig {
	return proxy.RatesConfig{
		Config: ratelimit.Config{Workspace: o.workspace, Identity: o.identity, Address: o.address},
		DryRun: o.dryRun, Pause: ratePause, Infrastructure: decider.Infrastructure,
	}
}
