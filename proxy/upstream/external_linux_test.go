package upstream

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// TestExternalTransportsBoundTheKernelsBuffer: also that of a connection whose health is checked.
func TestExternalTransportsBoundTheKernelsBuffer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	foreign := NewExternal((&net.Dialer{}).DialContext, nil)
	listed := New("host", Files{CA: "ca"}, &Credentials{Roots: x509.NewCertPool()}, true, nil, klog.Logger{}).current.Load()
	for name, transport := range map[string]*http.Transport{"foreign": foreign.requests, "listed": listed.shared} {
		conn, err := transport.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		locked := 0
		if err := errors.Join(raw.Control(func(fd uintptr) {
			locked, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
		}), err); err != nil || locked&2 == 0 { // SOCK_RCVBUF_LOCK: somebody has set its size
			t.Errorf("%s: the kernel may enlarge the buffer; %v", name, err)
		}
	}
}
