package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// h1Conn is an HTTP/1.1 connection without what makes net/http's client dear:
// the load shall leave the CPU to the target.
type h1Conn struct {
	conn  *tls.Conn
	in    *bufio.Reader
	out   []byte
	asked http.Request // what answers are read for
}

func dialH1(address string, config *tls.Config) (*h1Conn, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	return &h1Conn{conn: conn, in: bufio.NewReaderSize(conn, 4<<10), asked: http.Request{Method: http.MethodGet}}, nil
}

func (c *h1Conn) close() { _ = c.conn.Close() }

// do implements client.
func (c *h1Conn) do(r *request) (answer, error) {
	b := append(c.out[:0], r.method...)
	b = append(append(b, ' '), r.path...)
	if r.query != "" {
		b = append(append(b, '?'), r.query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: proxy.example\r\nUser-Agent: bench\r\nAccept: application/json\r\n"...)
	if r.token != "" {
		b = append(append(append(b, "Authorization: Bearer "...), r.token...), "\r\n"...)
	}
	if r.body > 0 {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(r.body), 10), "\r\n"...)
	}
	c.out = append(b, "\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return answer{}, err
	}
	for left := r.body; left > 0; left -= len(zeros) {
		if _, err := c.conn.Write(zeros[:min(left, len(zeros))]); err != nil {
			return answer{}, err
		}
	}
	return c.read(r)
}

func (c *h1Conn) read(r *request) (answer, error) {
	res, err := http.ReadResponse(c.in, &c.asked) //nolint:bodyclose // read to its end, which is all that Close would do
	if err != nil {
		return answer{}, err
	}
	if r.watch && res.StatusCode == http.StatusOK {
		_, err := res.Body.Read(make([]byte, 512)) // the rest never comes
		return answer{code: res.StatusCode}, err
	}
	n, err := copyAll(res.Body)
	if err == nil && res.Close {
		err = fmt.Errorf("answer %d closes the connection", res.StatusCode)
	}
	return answer{res.StatusCode, n}, err
}

// zeros are what large bodies are made of. Only read.
var zeros = make([]byte, 64<<10)

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// copyAll reads r to its end.
func copyAll(r io.Reader) (int64, error) {
	b := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(b)
	var all int64
	for {
		n, err := r.Read(*b)
		all += int64(n)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}
