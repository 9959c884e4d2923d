package upstream

import (
	"errors"
	"net"
	"syscall"
)

// answerConn is a connection to a server on which only a read reports that the server has
// closed it. A server that answers before it has read the whole body, and then closes, resets
// the connection. Its answer has arrived, but net/http would fail the request because of the
// write. So such a write appears to succeed, and the next read returns the answer or, if there
// is none, the error.
type answerConn struct{ net.Conn }

func (c answerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(b), nil
	}
	return n, err
}

// SyscallConn lets http1 look, without waiting, whether the server has closed an idle connection.
func (c answerConn) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := c.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
