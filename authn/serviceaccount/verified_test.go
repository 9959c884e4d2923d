package serviceaccount

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/internal/authntest"
)

// TestVerifiedTokensAreBoundedByBytes: a token may say as much as 16 KiB of its
// account, so that a number of tokens is no bound.
func TestVerifiedTokensAreBoundedByBytes(t *testing.T) {
	v := newVerified()
	now := time.Now()
	kept := authntest.Retained(func() {
		for i := range 4096 {
			v.add(v.digester.Digest(fmt.Sprint(i)), 1, now, &account{name: "bot", jti: strings.Repeat("x", maxToken)})
		}
	})
	if kept > 12<<20 {
		t.Errorf("%d bytes are kept of 4,096 tokens of %d bytes, want 12 MiB at most", kept, maxToken)
	}
	if v.get(v.digester.Digest("4095"), 1, now) == nil {
		t.Error("the last token is forgotten")
	}
	runtime.KeepAlive(v)
}
