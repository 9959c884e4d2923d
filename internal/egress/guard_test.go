package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// nat64At is a guard of a network with a translator, and without 192.0.2.0/24.
func nat64At(prefix string) Guard {
	return Guard{NAT64: prefixes(prefix), DenyCIDRs: prefixes("192.0.2.0/24")}
}

func TestCheckNAT64(t *testing.T) {
	for prefix, good := range map[string]bool{
		"2001:db8::/32": true, "2001:db8::/40": true, "2001:db8::/48": true, "2001:db8::/56": true, "2001:db8::/64": true, "2001:db8::/96": true,
		"2001:db8::/44": false, "2001:db8::/128": false, "::/0": false, "10.0.0.0/32": false, "::ffff:0:0/96": false,
	} {
		if err := CheckNAT64(netip.MustParsePrefix(prefix)); (err == nil) != good {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	if err := CheckNAT64(netip.Prefix{}); err == nil {
		t.Error("the zero prefix is one")
	}
}

func TestGuardCheck(t *testing.T) {
	own := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:6443")}
	local := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("10.9.8.7"), Mask: net.CIDRMask(24, 32)}}, nil
	}
	broken := func() ([]net.Addr, error) { return nil, errors.New("no addresses") }
	tests := []struct {
		name    string
		guard   Guard
		target  string
		refused string // part of the reason; empty: allowed
	}{
		{name: "public", target: "203.0.113.7:443"},
		{name: "private", target: "10.1.2.3:443"},
		{name: "loopback", target: "127.0.0.1:443"},
		{name: "loopback v6", target: "[::1]:443"},
		{name: "unique local v6", target: "[fd12::1]:443"},
		{name: "global v6", target: "[2a00:1450::1]:443"},
		{name: "link-local", target: "169.254.1.1:443", refused: "link-local"},
		{name: "AWS metadata", target: "169.254.169.254:80", refused: "link-local"},
		{name: "AWS metadata v6", target: "[fd00:ec2::254]:80", refused: "metadata"},
		{name: "EKS pod identities v6", target: "[fd00:ec2::23]:80", refused: "metadata"},
		{name: "Google metadata v6", target: "[fd20:ce::254]:80", refused: "metadata"},
		{name: "Alibaba metadata", target: "100.100.100.200:80", refused: "metadata"},
		{name: "Azure wire server", target: "168.63.129.16:80", refused: "metadata"},
		{name: "Oracle metadata", target: "192.0.0.192:80", refused: "metadata"},
		{name: "link-local v6", target: "[fe80::1]:443", refused: "link-local"},
		{name: "link-local v6 with zone", target: "[fe80::1%eth0]:443", refused: "link-local"},
		{name: "unspecified", target: "0.0.0.0:443", refused: "unspecified"},
		{name: "this network", target: "0.1.2.3:443", refused: "unspecified"},
		{name: "unspecified v6", target: "[::]:443", refused: "unspecified"},
		{name: "multicast", target: "224.0.0.1:443", refused: "multicast"},
		{name: "multicast v6", target: "[ff02::1]:443", refused: "multicast"},
		{name: "broadcast", target: "255.255.255.255:443", refused: "broadcast"},

		{name: "mapped metadata", target: "[::ffff:169.254.169.254]:80", refused: "link-local"},
		{name: "mapped public", target: "[::ffff:203.0.113.7]:443"},
		{name: "compatible metadata", target: "[::169.254.169.254]:80", refused: "embeds"},
		{name: "translated metadata", target: "[::ffff:0:169.254.169.254]:80", refused: "embeds"},
		{name: "NAT64 metadata", target: "[64:ff9b::169.254.169.254]:80", refused: "embeds"},
		{name: "NAT64 public", target: "[64:ff9b::203.0.113.7]:443"},
		{name: "local NAT64 /96 metadata", target: "[64:ff9b:1::100.100.100.200]:80", refused: "embeds"},
		{name: "local NAT64 /48 metadata", target: "[64:ff9b:1:a9fe:a9:fe00::]:80", refused: "embeds"},
		{name: "6to4 metadata", target: "[2002:a9fe:a9fe::1]:80", refused: "embeds"},
		{name: "6to4 public", target: "[2002:cb00:7107::1]:443"},
		{name: "Teredo to metadata", target: "[2001:0:cb00:7107:0:0:5601:5601]:80", refused: "embeds"},

		{name: "ISATAP metadata", target: "[2001:db8::5efe:169.254.169.254]:80", refused: "embeds"},
		{name: "ISATAP metadata, known everywhere", target: "[fd12::200:5efe:169.254.169.254]:80", refused: "embeds"},
		{name: "ISATAP and 6to4", target: "[2002:cb00:7107::5efe:169.254.169.254]:80", refused: "embeds 169.254.169.254"},
		{name: "ISATAP public", target: "[2001:db8::200:5efe:203.0.113.7]:443"},
		{name: "no ISATAP", target: "[2001:db8::400:5efe:169.254.169.254]:443"},
		{name: "operator's NAT64 /96 metadata", guard: nat64At("2001:db8:64::/96"), target: "[2001:db8:64::169.254.169.254]:80", refused: "embeds 169.254.169.254"},
		{name: "operator's NAT64 /96 public", guard: nat64At("2001:db8:64::/96"), target: "[2001:db8:64::203.0.113.7]:443"},
		{name: "not below the operator's NAT64", guard: nat64At("2001:db8:64::/96"), target: "[2001:db8:65::169.254.169.254]:443"},
		// The examples of RFC 6052, section 2.4, for 192.0.2.33.
		{name: "RFC 6052 /32", guard: nat64At("2001:db8::/32"), target: "[2001:db8:c000:221::]:443", refused: "embeds 192.0.2.33"},
		{name: "RFC 6052 /40", guard: nat64At("2001:db8:100::/40"), target: "[2001:db8:1c0:2:21::]:443", refused: "embeds 192.0.2.33"},
		{name: "RFC 6052 /48", guard: nat64At("2001:db8:122::/48"), target: "[2001:db8:122:c000:2:2100::]:443", refused: "embeds 192.0.2.33"},
		{name: "RFC 6052 /56", guard: nat64At("2001:db8:122:300::/56"), target: "[2001:db8:122:3c0:0:221::]:443", refused: "embeds 192.0.2.33"},
		{name: "RFC 6052 /64", guard: nat64At("2001:db8:122:344::/64"), target: "[2001:db8:122:344:c0:2:2100::]:443", refused: "embeds 192.0.2.33"},
		{name: "RFC 6052 /96", guard: nat64At("2001:db8:122:344::/96"), target: "[2001:db8:122:344::192.0.2.33]:443", refused: "embeds 192.0.2.33"},

		{name: "own at any address", guard: Guard{Own: own, LocalAddrs: local}, target: "127.0.0.1:6443", refused: "own listener"},
		{name: "own at an interface", guard: Guard{Own: own, LocalAddrs: local}, target: "10.9.8.7:6443", refused: "own listener"},
		{name: "own through 6to4", guard: Guard{Own: own, LocalAddrs: local}, target: "[2002:0a09:0807::1]:6443", refused: "own listener"},
		{name: "own address, other port", guard: Guard{Own: own, LocalAddrs: local}, target: "10.9.8.7:443"},
		{name: "own port elsewhere", guard: Guard{Own: own, LocalAddrs: local}, target: "10.9.8.8:6443"},
		{name: "own port, addresses unknown", guard: Guard{Own: own, LocalAddrs: broken}, target: "10.9.8.8:6443", refused: "own listener"},

		{name: "denied", guard: Guard{DenyCIDRs: prefixes("10.0.0.0/8")}, target: "10.1.2.3:443", refused: "denied range 10.0.0.0/8"},
		{name: "mapped denied", guard: Guard{DenyCIDRs: prefixes("10.0.0.0/8")}, target: "[::ffff:10.1.2.3]:443", refused: "denied range"},
		{name: "NAT64 denied", guard: Guard{DenyCIDRs: prefixes("10.0.0.0/8")}, target: "[64:ff9b::10.1.2.3]:443", refused: "denied range"},
		{name: "longer allow", guard: Guard{DenyCIDRs: prefixes("10.0.0.0/8"), AllowCIDRs: prefixes("10.1.0.0/16")}, target: "10.1.2.3:443"},
		{name: "longer deny", guard: Guard{DenyCIDRs: prefixes("10.1.2.0/24"), AllowCIDRs: prefixes("10.1.0.0/16")}, target: "10.1.2.3:443", refused: "denied range 10.1.2.0/24"},
		{name: "equal: deny", guard: Guard{DenyCIDRs: prefixes("10.1.0.0/16"), AllowCIDRs: prefixes("10.1.0.0/16")}, target: "10.1.2.3:443", refused: "denied"},
		{name: "only a list", guard: Guard{DenyCIDRs: prefixes("0.0.0.0/0", "::/0"), AllowCIDRs: prefixes("203.0.113.0/24")}, target: "127.0.0.1:443", refused: "denied"},
		{name: "only a list, v6", guard: Guard{DenyCIDRs: prefixes("0.0.0.0/0", "::/0"), AllowCIDRs: prefixes("203.0.113.0/24")}, target: "[::1]:443", refused: "denied"},
		{name: "only a list, on it", guard: Guard{DenyCIDRs: prefixes("0.0.0.0/0", "::/0"), AllowCIDRs: prefixes("203.0.113.0/24")}, target: "203.0.113.9:443"},
		{name: "allow lifts no built-in rule", guard: Guard{AllowCIDRs: prefixes("169.254.169.254/32")}, target: "169.254.169.254:80", refused: "link-local"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.guard.Check(netip.MustParseAddrPort(tt.target))
			switch {
			case tt.refused == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tt.refused != "" && !errors.Is(err, ErrRefused):
				t.Fatalf("got %v, want a refusal", err)
			case tt.refused != "" && !strings.Contains(err.Error(), tt.refused):
				t.Fatalf("got %v, want it to say %q", err, tt.refused)
			}
		})
	}
}

// The guard sits in the dialer: a name is judged by what it resolves to.
func TestGuardDial(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	guard := &Guard{DenyCIDRs: prefixes("127.0.0.0/8", "::1/128")}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if _, err := guard.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", host, err)
		}
	}
	conn, err := new(Guard).DialContext(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := new(Guard).DialContext(context.Background(), "udp", listener.Addr().String()); !errors.Is(err, ErrRefused) {
		t.Errorf("udp: got %v, want a refusal", err)
	}
}

// However an IPv4 address is dressed up in IPv6, a refused one stays refused.
func FuzzGuardForms(f *testing.F) {
	f.Add([]byte{169, 254, 169, 254}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{10, 0, 0, 1}, make([]byte, 12))
	f.Add([]byte{0, 0, 0, 1}, make([]byte, 12))
	guard := &Guard{DenyCIDRs: prefixes("10.0.0.0/8"), NAT64: prefixes("2001:db8:64::/48")}
	f.Fuzz(func(t *testing.T, v4, noise []byte) {
		if len(v4) != 4 || len(noise) != 12 {
			return
		}
		plain := netip.AddrFrom4([4]byte(v4))
		want := guard.Check(netip.AddrPortFrom(plain, 443)) != nil
		for name, form := range dressed([4]byte(v4), [12]byte(noise)) {
			got := guard.Check(netip.AddrPortFrom(form, 443)) != nil
			if want && !got && form != netip.IPv6Loopback() {
				t.Errorf("%s is refused, as %s (%s) it is not", plain, form, name)
			}
		}
	})
}

// dressed puts v4 into every form, with noise wherever the form has free bits.
func dressed(v4 [4]byte, noise [12]byte) map[string]netip.Addr {
	low := func(prefix string) netip.Addr {
		b := netip.MustParseAddr(prefix).As16()
		copy(b[12:], v4[:])
		return netip.AddrFrom16(b)
	}
	forms := map[string]netip.Addr{
		"mapped":     low("::ffff:0:0"),
		"compatible": low("::"),
		"NAT64":      low("64:ff9b::"),
		"local":      low("64:ff9b:1::"),
	}
	var b [16]byte
	b[0], b[1] = 0x20, 0x02
	copy(b[2:], v4[:])
	copy(b[6:], noise[:10])
	forms["6to4"] = netip.AddrFrom16(b)
	b = netip.MustParseAddr("64:ff9b:1::").As16()
	b[6], b[7], b[9], b[10] = v4[0], v4[1], v4[2], v4[3]
	copy(b[11:], noise[:5])
	forms["local /48"] = netip.AddrFrom16(b)
	b = netip.MustParseAddr("2001:db8:64::").As16()
	b[6], b[7], b[9], b[10] = v4[0], v4[1], v4[2], v4[3]
	copy(b[11:], noise[:5])
	forms["operator's NAT64"] = netip.AddrFrom16(b)
	copy(b[:], noise[:8])
	b[8], b[9], b[10], b[11] = noise[8]&3, 0, 0x5e, 0xfe
	copy(b[12:], v4[:])
	forms["ISATAP"] = netip.AddrFrom16(b)
	b = netip.MustParseAddr("2001::").As16()
	copy(b[4:], noise[:8])
	for i := range v4 {
		b[12+i] = ^v4[i]
	}
	forms["Teredo"] = netip.AddrFrom16(b)
	return forms
}

func TestUnguarded(t *testing.T) {
	for _, address := range []string{"169.254.169.254:443", "[fd00:ec2::254]:443", "[fe80::1]:443", "10.0.0.1:443"} {
		if err := Unguarded().Check(netip.MustParseAddrPort(address)); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
