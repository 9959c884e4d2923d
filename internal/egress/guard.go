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

// ErrRefused is wrapped by every refusal of an Guard.
var ErrRefused = errors.New("egress refused")

// Guard judges the addresses that tenant-supplied URLs lead to, at dial
// time and after name resolution: what a name resolved to earlier, or what a
// URL looks like, says nothing. The zero Guard has only the built-in
// rules. It must not be changed while in use.
//
// The rules, in this order:
//
//  1. Refused whatever the lists say: unspecified (0.0.0.0/8, ::), multicast,
//     broadcast and link-local addresses, cloud metadata services, and the
//     proxy's own listeners.
//  2. The longest prefix in DenyCIDRs or AllowCIDRs that holds the address
//     decides; of equal ones DenyCIDRs.
//  3. Everything else is allowed, private and loopback ranges included:
//     in-cluster issuers live there. DenyCIDRs of 0.0.0.0/0 and ::/0 turn
//     AllowCIDRs into the complete list of what may be reached.
//
// An IPv6 address that carries an IPv4 address (mapped, compatible, NAT64,
// 6to4, Teredo, ISATAP) is refused when either of the two is.
type Guard struct {
	// DenyCIDRs and AllowCIDRs are the operator's lists; see above. A prefix of
	// IPv4-mapped addresses (::ffff:0:0/96) matches nothing.
	DenyCIDRs, AllowCIDRs []netip.Prefix
	// NAT64 are the prefixes that the operator's translators use beside 64:ff9b::/96
	// and 64:ff9b:1::/48; each passes CheckNAT64. An address below one carries an IPv4
	// address where RFC 6052, section 2.2, has it for that length.
	NAT64 []netip.Prefix
	// Own returns the addresses the proxy listens at; an unspecified one stands
	// for every local address. Nil means none. It is called at every dial.
	Own func() []netip.AddrPort
	// LocalAddrs returns the machine's addresses; nil means net.InterfaceAddrs.
	LocalAddrs func() ([]net.Addr, error)
	// Resolver resolves names; nil means the system's.
	Resolver *net.Resolver

	unguarded bool
}

// Unguarded is a guard that lets everything pass, for URLs that operators choose.
func Unguarded() *Guard { return &Guard{unguarded: true} }

// metadataAddrs are the metadata services of clouds that aren't link-local.
// From the documentation of Alibaba, Azure, Oracle, AWS and Google.
var metadataAddrs = map[netip.Addr]bool{
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("168.63.129.16"):   true,
	netip.MustParseAddr("192.0.0.192"):     true,
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("fd00:ec2::23"):    true, // EKS pod identities
	netip.MustParseAddr("fd20:ce::254"):    true,
}

// Prefixes that matter here.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	broadcast   = netip.MustParseAddr("255.255.255.255")
	compatible  = netip.MustParsePrefix("::/96")
	nat64       = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local  = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour   = netip.MustParsePrefix("2002::/16")
	teredo      = netip.MustParsePrefix("2001::/32")
	// translated is what stateless translation (SIIT) uses.
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// DialContext dials like net.Dialer, and only addresses that Check allows.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		Timeout:        10 * time.Second,
		Resolver:       g.Resolver,
		ControlContext: g.control,
	}
	return dialer.DialContext(ctx, network, address)
}

// control sees each resolved address just before the connection is made.
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

// Check returns nil when target may be connected to, else an error that wraps
// ErrRefused and says why.
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

// checkOne judges addr as it is.
func (g *Guard) checkOne(addr netip.Addr, port uint16) error {
	if why := builtIn(addr); why != "" {
		return fmt.Errorf("%w: %s is %s", ErrRefused, addr, why)
	}
	if g.isOwn(addr, port) {
		return fmt.Errorf("%w: %s is this proxy's own listener", ErrRefused, netip.AddrPortFrom(addr, port))
	}
	deny, denied := longest(g.DenyCIDRs, addr)
	if allow, _ := longest(g.AllowCIDRs, addr); denied && deny.Bits() >= bits(allow) {
		return fmt.Errorf("%w: %s is in the denied range %s", ErrRefused, addr, deny)
	}
	return nil
}

// builtIn says which rule no list can lift refuses addr; empty when none does.
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

// isOwn says whether addr and port are where the proxy listens.
func (g *Guard) isOwn(addr netip.Addr, port uint16) bool {
	if g.Own == nil {
		return false
	}
	for _, own := range g.Own() {
		if own.Port() != port {
			continue
		}
		if host := own.Addr().Unmap().WithZone(""); host == addr || host.IsUnspecified() && g.isLocal(addr) {
			return true
		}
	}
	return false
}

// isLocal says whether addr is this machine's. When the machine's addresses
// can't be read every address counts as local: refusing is the safe side.
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

// embedded are the IPv4 addresses an IPv6 address carries, for all that we know of
// the networks it may lead through.
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
	// ISATAP has its interface identifiers below any prefix; two bits of the first
	// octet say how far the IPv4 address is known (RFC 5214, section 6.1).
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

// nat64Places is where RFC 6052, section 2.2, has the IPv4 address behind a prefix,
// by the prefix's length. Octet 8 is left out.
var nat64Places = map[int][4]int{32: {4, 5, 6, 7}, 40: {5, 6, 7, 9}, 48: {6, 7, 9, 10}, 56: {7, 9, 10, 11}, 64: {9, 10, 11, 12}, 96: {12, 13, 14, 15}}

// translatedFrom is the IPv4 address behind a prefix of a length that nat64Places has.
func translatedFrom(b [16]byte, bits int) netip.Addr {
	at := nat64Places[bits]
	return netip.AddrFrom4([4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]})
}

// CheckNAT64 says whether p can be a translator's prefix: of IPv6, and of a length
// that RFC 6052 has.
func CheckNAT64(p netip.Prefix) error {
	if _, ok := nat64Places[p.Bits()]; !ok || !p.Addr().Is6() || p.Addr().Is4In6() {
		return fmt.Errorf("%s is not a NAT64 prefix: it must be an IPv6 prefix of length /32, /40, /48, /56, /64 or /96 (RFC 6052)", p)
	}
	return nil
}

// longest finds the longest of prefixes that holds addr.
func longest(prefixes []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	var best netip.Prefix
	found := false
	for _, p := range prefixes {
		if p.Contains(addr) && (!found || p.Bits() > best.Bits()) {
			best, found = p, true
		}
	}
	return best, found
}

// bits is -1 for the zero Prefix, which holds nothing.
func bits(p netip.Prefix) int {
	if !p.IsValid() {
		return -1
	}
	return p.Bits()
}
