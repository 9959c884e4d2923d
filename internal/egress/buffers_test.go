package egress

import (
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
)

// TestLimitTransportBoundsTheKernelsBuffer: what a server sends ahead of its reader is
// bounded in the kernel, too.
func TestLimitTransportBoundsTheKernelsBuffer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	LimitTransport(transport)
	conn, err := transport.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var size int
	if err := raw.Control(func(fd uintptr) {
		size, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	}); err != nil {
		t.Fatal(err)
	}
	// socket(7): the kernel doubles what is asked for, and keeps to it from then on.
	if err != nil || size != 2*StreamBuffer {
		t.Errorf("the buffer has %d bytes, want %d; %v", size, 2*StreamBuffer, err)
	}
}
