package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// ErrRefused is wrapped by every refusal of a Guard.
var ErrRefused = errors.New("egress refused")

// Guard checks the addresses to which tenants' URLs lead, at dial time and after name
// resolution: neither the URL's text nor an earlier resolution of its name is reliable.
// The zero Guard has only the built-in rules. Do not change a Guard while it is in use.
//
// The rules, in this order:
//
//  1. Always refused: unspecified (0.0.0.0/8, ::), multicast, broadcast and link-local
//     addresses, cloud metadata services, and the proxy's own listeners.
//  2. Otherwise the longest prefix in DenyCIDRs or AllowCIDRs that contains the address
//     decides; if both lists have it, the address is refused.
//  3. Everything else is allowed, including private and loopback ranges, because
//     in-cluster issuers are there. DenyCIDRs of 0.0.0.0/0 and ::/0 make AllowCIDRs the
//     complete list of what may be reached.
//
// An IPv6 address that embeds an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo,
// ISATAP) is refused if either of the two is.
type Guard struct {
	// DenyCIDRs and AllowCIDRs are the operator's lists; see above. A prefix of
	// IPv4-mapped addresses (::ffff:0:0/96) matches nothing.
	DenyCIDRs, AllowCIDRs []netip.Prefix
	// NAT64 are the prefixes of the operator's translators in addition to
	// 64:ff9b::/96 and 64:ff9b:1::/48; each passes CheckNAT64. An address below one
	// embeds an IPv4 address at the position that RFC 6052, section 2.2, defines for
	// the prefix's length.
	NAT64 []netip.Prefix
	// Own are the addresses at which the proxy listens; an unspecified one means every
	// local address.
	Own []netip.AddrPort
	// LocalAddrs returns the machine's addresses; nil means net.InterfaceAddrs.
	LocalAddrs func() ([]net.Addr, error)

	unguarded bool
}

// Unguarded returns a guard that allows everything, for URLs that operators choose.
func Unguarded() *Guard { return &Guard{unguarded: true} }

// metadataAddrs are the clouds' metadata services outside link-local ranges, from the
// documentation of Alibaba, Azure, Oracle, AWS and Google.
var metadataAddrs = map[netip.Addr]bool{
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("168.63.129.16"):   true,
	netip.MustParseAddr("192.0.0.192"):     true,
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("fd00:ec2::23"):    true, // EKS pod identities
	netip.MustParseAddr("fd20:ce::254"):    true,
}

// Prefixes with a special meaning.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	broadcast   = netip.MustParseAddr("255.255.255.255")
	compatible  = netip.MustParsePrefix("::/96")
	nat64       = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local  = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour   = netip.MustParsePrefix("2002::/16")
	teredo      = netip.MustParsePrefix("2001::/32")
	// translated is the prefix of stateless translation (SIIT).
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// DialContext dials like net.Dialer, but only addresses that Check allows.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: g.control}
	return dialer.DialContext(ctx, network, address)
}

// control checks each resolved address just before the connection is made.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return fmt.Errorf("%w: network %q is not TCP", ErrRefused, network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an IP address and port", ErrRefused, address)
	}
	return g.Check(target)
}

// Check returns nil if the proxy may connect to target, else an error that wraps
// ErrRefused and gives the reason.
func (g *Guard) Check(target netip.AddrPort) error {
	if g.unguarded {
		return nil
	}
	addr := target.Addr().Unmap().WithZone("")
	if !addr.IsValid() {
		return fmt.Errorf("%w: no address", ErrRefused)
	}
	if err := g.checkOne(addr, target.Port()); err != nil {
		return err
	}
	for _, inner := range g.embedded(addr) {
		if err := g.checkOne(inner, target.Port()); err != nil {
			return fmt.Errorf("%s embeds %s: %w", addr, inner, err)
		}
	}
	return nil
}

// checkOne checks addr itself, without embedded addresses.
func (g *Guard) checkOne(addr netip.Addr, port uint16) error {
	if why := builtIn(addr); why != "" {
		return fmt.Errorf("%w: %s is %s", ErrRefused, addr, why)
	}
	if g.isOwn(addr, port) {
		return fmt.Errorf("%w: %s is this proxy's own listener", ErrRefused, netip.AddrPortFrom(addr, port))
	}
	if deny := longest(g.DenyCIDRs, addr); deny.IsValid() && deny.Bits() >= longest(g.AllowCIDRs, addr).Bits() {
		return fmt.Errorf("%w: %s is in the denied range %s", ErrRefused, addr, deny)
	}
	return nil
}

// builtIn returns the built-in rule, which no list overrides, that refuses addr; ""
// if there is none.
func builtIn(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified(), addr.Is4() && thisNetwork.Contains(addr):
		return "unspecified"
	case addr.IsMulticast():
		return "multicast"
	case addr == broadcast:
		return "broadcast"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case metadataAddrs[addr]:
		return "a cloud metadata service"
	}
	return ""
}

// isOwn reports whether the proxy listens at addr and port.
func (g *Guard) isOwn(addr netip.Addr, port uint16) bool {
	for _, own := range g.Own {
		if own.Port() != port {
			continue
		}
		if host := own.Addr().Unmap().WithZone(""); host == addr || host.IsUnspecified() && g.isLocal(addr) {
			return true
		}
	}
	return false
}

// isLocal reports whether addr is an address of this machine. If the machine's
// addresses cannot be read, every address counts as local, because refusing is safe.
func (g *Guard) isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	list := g.LocalAddrs
	if list == nil {
		list = net.InterfaceAddrs
	}
	addrs, err := list()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		if ipnet, ok := a.(*net.IPNet); ok {
			if local, ok := netip.AddrFromSlice(ipnet.IP); ok && local.Unmap() == addr {
				return true
			}
		}
	}
	return false
}

// embedded returns the IPv4 addresses that an IPv6 address embeds, for all forms that
// the guard knows.
func (g *Guard) embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() || addr.IsLoopback() {
		return nil
	}
	b := addr.As16()
	at := func(i, j, k, l int) netip.Addr { return netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]}) }
	var all []netip.Addr
	switch {
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		all = append(all, at(12, 13, 14, 15))
	case nat64Local.Contains(addr):
		// The operator of the translator chooses the prefix length (RFC 8215).
		for _, bits := range []int{48, 56, 64, 96} {
			all = append(all, translatedFrom(b, bits))
		}
	case sixToFour.Contains(addr):
		all = append(all, at(2, 3, 4, 5))
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		all = append(all, at(4, 5, 6, 7), client)
	}
	// ISATAP puts its interface identifiers below any prefix; two bits of the first
	// octet say how widely the IPv4 address is unique (RFC 5214, section 6.1).
	if b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		all = append(all, at(12, 13, 14, 15))
	}
	for _, p := range g.NAT64 {
		if p.Contains(addr) {
			all = append(all, translatedFrom(b, p.Bits()))
		}
	}
	return all
}

// nat64Places has the position of the IPv4 address after a prefix by the prefix's
// length (RFC 6052, section 2.2). Octet 8 is skipped.
var nat64Places = map[int][4]int{32: {4, 5, 6, 7}, 40: {5, 6, 7, 9}, 48: {6, 7, 9, 10}, 56: {7, 9, 10, 11}, 64: {9, 10, 11, 12}, 96: {12, 13, 14, 15}}

// translatedFrom returns the IPv4 address after a prefix whose length is in
// nat64Places.
func translatedFrom(b [16]byte, bits int) netip.Addr {
	at := nat64Places[bits]
	return netip.AddrFrom4([4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]})
}

// CheckNAT64 returns nil if p can be a translator's prefix: an IPv6 prefix of a
// length that RFC 6052 allows.
func CheckNAT64(p netip.Prefix) error {
	if _, ok := nat64Places[p.Bits()]; !ok || !p.Addr().Is6() || p.Addr().Is4In6() {
		return fmt.Errorf("%s is not a NAT64 prefix: it must be an IPv6 prefix of length /32, /40, /48, /56, /64 or /96 (RFC 6052)", p)
	}
	return nil
}

// longest returns the longest of prefixes that contains addr; if there is none, the zero
// Prefix, which has -1 Bits.
func longest(prefixes []netip.Prefix, addr netip.Addr) (best netip.Prefix) {
	for _, p := range prefixes {
		if p.Contains(addr) && p.Bits() > best.Bits() {
			best = p
		}
	}
	return best
}
