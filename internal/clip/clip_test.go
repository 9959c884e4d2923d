package clip

import (
	"strings"
	"testing"
	"unsafe"
)

func TestClone(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 4, ""},
		{"abc", 4, "abc"},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "abcd…"},
		{"abcé", 4, "abc…"},
		{"aé", 3, "aé"},
		{"\x80\x80\x80", 2, "…"},
		{"abc", 0, "…"},
	} {
		if got := Clone(tc.in, tc.n); got != tc.want {
			t.Errorf("Clone(%q, %d) = %q, want %q", tc.in, tc.n, got, tc.want)
		}
	}
}

func TestCloneSharesNoMemory(t *testing.T) {
	whole := strings.Repeat("x", 1<<10)
	for _, n := range []int{1 << 10, 1 << 9, 1} {
		for _, s := range []string{whole, whole[:100], whole[500:501]} {
			got := uintptr(unsafe.Pointer(unsafe.StringData(Clone(s, n))))
			begin := uintptr(unsafe.Pointer(unsafe.StringData(whole)))
			if got >= begin && got < begin+uintptr(len(whole)) {
				t.Errorf("Clone of %d bytes, cut at %d, is a part of the text it was made from", len(s), n)
			}
		}
	}
}

func TestQuoted(t *testing.T) {
	for want, list := range map[string][]string{"[]": nil, `["a" "b\n"]`: {"a", "b\n"}} {
		if got := Quoted(list); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for name, list := range map[string][]string{"long": {strings.Repeat("a", 1<<20)}, "many": make([]string, 1<<20)} {
		if got := Quoted(list); len(got) > 300+len(ellipsis) {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}
