package clientaddr

import "testing"

func TestOf(t *testing.T) {
	for _, tt := range []struct{ remote, want string }{
		{"192.0.2.1:1234", "192.0.2.1/32"},
		{"[::ffff:192.0.2.1]:1234", "192.0.2.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"},
		{"[2001:db8:1:2:ffff::]:65535", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:1", "fe80::/64"},
		{"[::1]:1", "::/64"},
		{"192.0.2.1", ""},
		{"example.com:443", ""},
		{"@", ""},
		{"", ""},
	} {
		t.Run(tt.remote, func(t *testing.T) {
			got, ok := Of(tt.remote)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("%v %v, want %q", got, ok, tt.want)
			}
		})
	}
}
