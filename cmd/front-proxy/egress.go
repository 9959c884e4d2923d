package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/pflag"

	"frontproxy/internal/egress"
)

// egressOptions say where tenants' URLs may lead.
type egressOptions struct {
	deny, allow, nat64 []string
}

func (o *egressOptions) flags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.deny, "workspace-egress-deny-cidrs", nil, "Networks that URLs in workspaces (issuers, mounts) must not lead to, comma-separated. Link-local and cloud metadata addresses and the proxy's own addresses are always denied.")
	fs.StringSliceVar(&o.allow, "workspace-egress-allow-cidrs", nil, "Exceptions from --workspace-egress-deny-cidrs, comma-separated. The smallest network that contains an address decides.")
	fs.StringSliceVar(&o.nat64, "workspace-egress-nat64-prefixes", nil, "Prefixes of your network's NAT64 translators besides 64:ff9b::/96 and 64:ff9b:1::/48, comma-separated: /32, /40, /48, /56, /64 or /96. For an address in one of them, the embedded IPv4 address must be allowed, too.")
}

func (o *egressOptions) validate() error {
	_, err := o.guard()
	return err
}

// guard returns the guard for tenants' URLs.
func (o *egressOptions) guard(listeners ...net.Addr) (*egress.Guard, error) {
	deny, denyErr := prefixes("workspace-egress-deny-cidrs", o.deny)
	allow, allowErr := prefixes("workspace-egress-allow-cidrs", o.allow)
	nat64, nat64Err := nat64Prefixes(o.nat64)
	if err := errors.Join(denyErr, allowErr, nat64Err); err != nil {
		return nil, err
	}
	var own []netip.AddrPort
	for _, l := range listeners {
		if l.Network() == "unix" {
			continue
		}
		address, err := netip.ParseAddrPort(l.String())
		if err != nil {
			return nil, fmt.Errorf("listener address %q: %w", l, err)
		}
		own = append(own, address)
	}
	return &egress.Guard{DenyCIDRs: deny, AllowCIDRs: allow, NAT64: nat64, Own: own}, nil
}

func prefixes(flag string, cidrs []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, fmt.Errorf("--%s: %q is not a CIDR such as 10.0.0.0/8 or fd00::/8", flag, c)
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("--%s: %q would match nothing; write IPv4 ranges as IPv4, such as 10.0.0.0/8", flag, c)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// nat64Prefixes parses --workspace-egress-nat64-prefixes.
func nat64Prefixes(cidrs []string) ([]netip.Prefix, error) {
	const flag = "workspace-egress-nat64-prefixes"
	all, err := prefixes(flag, cidrs)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if err := egress.CheckNAT64(p); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	return all, nil
}
