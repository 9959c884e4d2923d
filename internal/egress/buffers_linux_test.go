package egress

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/sys/unix"
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
	var size, locked int
	if err := raw.Control(func(fd uintptr) {
		size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		locked, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	}); err != nil {
		t.Fatal(err)
	}
	// socket(7): the kernel doubles what is asked for. A buffer whose size was not asked for grows.
	const receiveLock = 2 // SOCK_RCVBUF_LOCK
	if err != nil || size != 2*StreamBuffer || locked&receiveLock == 0 {
		t.Errorf("the buffer has %d bytes, want %d (locked: %b); %v", size, 2*StreamBuffer, locked, err)
	}
}
