package serviceaccount

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/token"
)

// TestVerifiedTokensAreBoundedByBytes: a token may say as much as 16 KiB of its
// account, so that a number of tokens is no bound.
func TestVerifiedTokensAreBoundedByBytes(t *testing.T) {
	d, v := token.NewDigester(), token.NewCache[*account](maxVerified, nil)
	now := time.Now()
	kept := authntest.Retained(func() {
		for i := range 4096 {
			a := &account{name: "bot", jti: strings.Repeat("x", maxToken)}
			v.Add(d.Digest(fmt.Sprint(i)), a, a.until, now, 1, a.bytes())
		}
	})
	if kept > 12<<20 {
		t.Errorf("%d bytes are kept of 4,096 tokens of %d bytes, want 12 MiB at most", kept, maxToken)
	}
	if _, _, ok := v.Get(d.Digest("4095"), now, 1); !ok {
		t.Error("the last token is forgotten")
	}
	runtime.KeepAlive(v)
}
