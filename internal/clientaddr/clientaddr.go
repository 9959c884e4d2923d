// Package clientaddr reads which client an address stands for.
package clientaddr

import "net/netip"

// ipv6Bits is how much of an IPv6 address names a client: a host usually controls all
// addresses with the same first 64 bits.
const ipv6Bits = 64

// Of returns the network that one client is taken to control, given its address as in
// http.Request.RemoteAddr: an IPv4 address by itself, whichever way it is written, or an IPv6
// /64 without its zone. False: remote is no IP address with a port.
func Of(remote string) (netip.Prefix, bool) {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip := at.Addr().Unmap().WithZone("")
	network, err := ip.Prefix(min(ip.BitLen(), ipv6Bits))
	return network, err == nil
}
