package upstream

import (
	"errors"
	"net"
	"syscall"
)

// answerConn is a connection to a server whose end is learnt by reading. A server
// that answers before it has read a body, and closes, resets the connection: its
// answer has come, but net/http would give the request up for the write that failed.
// So such a write seems to work, and the next read brings the answer or, if there is
// none, the error.
type answerConn struct{ net.Conn }

// Write implements net.Conn.
func (c answerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(b), nil
	}
	return n, err
}
