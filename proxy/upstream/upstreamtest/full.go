// Package upstreamtest has servers for tests that do not answer as servers should.
package upstreamtest

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// Full is a listener at whose address no connection can be made, since its
// backlog is full and nobody accepts: the kernel drops what comes, as a network
// that is cut does.
func Full(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return fd, address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("a backlog of none holds ten connections")
	return 0, ""
}
