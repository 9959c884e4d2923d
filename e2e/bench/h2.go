package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Conn is an HTTP/2 connection that several workers share, without what makes
// net/http's client dear.
type h2Conn struct {
	conn *tls.Conn

	write   sync.Mutex // guards what is sent with
	out     *bufio.Writer
	frames  *http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32

	mu      sync.Mutex // guards what follows
	streams map[uint32]*h2Stream
	err     error
	// What the target lets be sent: in all, on a new stream, in a frame. More is
	// told when any of it has changed.
	window, newWindow, frame int
	more                     *sync.Cond
}

type h2Stream struct {
	id     uint32
	code   int
	bytes  int64
	window int // of what may be sent
	watch  bool
	done   chan error
}

const (
	firstWindow = 65535 // RFC 9113, section 6.9.2
	firstFrame  = 16 << 10
)

// Windows are as large as may be, so that nobody waits for the load.
const (
	streamWindow = 1<<31 - 1
	refill       = 1 << 28
)

func dialH2(address string, config *tls.Config) (*h2Conn, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
		return nil, errors.Join(fmt.Errorf("%s speaks %q, not HTTP/2", address, p), conn.Close())
	}
	c := &h2Conn{conn: conn, out: bufio.NewWriterSize(conn, 16<<10), next: 1, streams: map[uint32]*h2Stream{}, window: firstWindow, newWindow: firstWindow, frame: firstFrame}
	c.more = sync.NewCond(&c.mu)
	c.encoder = hpack.NewEncoder(&c.headers)
	c.frames = http2.NewFramer(c.out, bufio.NewReaderSize(conn, 16<<10))
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = c.out.WriteString(http2.ClientPreface)
	err = errors.Join(err, c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 256 << 10}),
		c.frames.WriteWindowUpdate(0, streamWindow-65535), c.out.Flush())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go c.read()
	return c, nil
}

func (c *h2Conn) close() { _ = c.conn.Close() }

// do implements client.
func (c *h2Conn) do(r *request) (answer, error) {
	s := &h2Stream{watch: r.watch, done: make(chan error, 1)}
	if err := c.send(r, s); err != nil {
		return answer{}, err
	}
	if err := c.sendBody(s, r.body); err != nil {
		return answer{}, err
	}
	err := <-s.done
	return answer{s.code, s.bytes}, err
}

func (c *h2Conn) send(r *request, s *h2Stream) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.mu.Lock()
	err := c.err
	s.id, s.window = c.next, c.newWindow
	c.streams[c.next] = s
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.headers.Reset()
	path := r.path
	if r.query != "" {
		path += "?" + r.query
	}
	fields := append(make([]hpack.HeaderField, 0, 8),
		hpack.HeaderField{Name: ":method", Value: r.method}, hpack.HeaderField{Name: ":scheme", Value: "https"},
		hpack.HeaderField{Name: ":authority", Value: "proxy.example"}, hpack.HeaderField{Name: ":path", Value: path},
		hpack.HeaderField{Name: "user-agent", Value: "bench"}, hpack.HeaderField{Name: "accept", Value: "application/json"})
	if r.token != "" {
		fields = append(fields, hpack.HeaderField{Name: "authorization", Value: "Bearer " + r.token})
	}
	if r.body > 0 && !r.unsized {
		fields = append(fields, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(r.body)})
	}
	for _, f := range fields {
		if err := c.encoder.WriteField(f); err != nil {
			return err
		}
	}
	err = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: c.headers.Bytes(), EndStream: r.body == 0, EndHeaders: true})
	c.next += 2
	return errors.Join(err, c.out.Flush())
}

// sendBody sends n bytes, as the target takes them; none of them once it has
// answered.
func (c *h2Conn) sendBody(s *h2Stream, n int) error {
	for n > 0 {
		size, err := c.allowed(s, n)
		if err != nil || size == 0 {
			return err
		}
		n -= size
		if err := c.control(func() error { return c.frames.WriteData(s.id, n == 0, zeros[:size]) }); err != nil {
			return err
		}
	}
	return nil
}

// allowed waits until some of n bytes may be sent; 0: the answer is there.
func (c *h2Conn) allowed(s *h2Stream, n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		size := min(n, c.window, s.window, c.frame, len(zeros))
		switch {
		case c.err != nil:
			return 0, c.err
		case c.streams[s.id] == nil:
			return 0, nil
		case size > 0:
			c.window -= size
			s.window -= size
			return size, nil
		}
		c.more.Wait()
	}
}

// allow notes what the target lets be sent, of one stream or, 0, of all.
func (c *h2Conn) allow(id uint32, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 {
		c.window += n
	} else if s := c.streams[id]; s != nil {
		s.window += n
	}
	c.more.Broadcast()
}

// set takes the target's settings.
func (c *h2Conn) set(f *http2.SettingsFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		for _, s := range c.streams {
			s.window += int(v) - c.newWindow
		}
		c.newWindow = int(v)
	}
	if v, ok := f.Value(http2.SettingMaxFrameSize); ok {
		c.frame = int(v)
	}
	c.more.Broadcast()
}

// read hands what comes to whom it is for, until the connection ends.
func (c *h2Conn) read() {
	var err error
	unacknowledged := 0
	for err == nil {
		var f http2.Frame
		if f, err = c.frames.ReadFrame(); err != nil {
			break
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			var code int
			if code, err = strconv.Atoi(f.PseudoValue("status")); err == nil {
				c.got(f.StreamID, code, 0, f.StreamEnded())
			}
		case *http2.DataFrame:
			if unacknowledged += int(f.Length); unacknowledged >= refill { //nolint:gosec // a frame's length
				err = c.control(func() error { return c.frames.WriteWindowUpdate(0, refill) })
				unacknowledged -= refill
			}
			c.got(f.StreamID, 0, len(f.Data()), f.StreamEnded())
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.set(f)
				err = c.control(c.frames.WriteSettingsAck)
			}
		case *http2.WindowUpdateFrame:
			c.allow(f.StreamID, int(f.Increment))
		case *http2.PingFrame:
			if !f.IsAck() {
				err = c.control(func() error { return c.frames.WritePing(true, f.Data) })
			}
		case *http2.GoAwayFrame:
			err = fmt.Errorf("the target winds the connection down: %s", f.ErrCode)
		case *http2.RSTStreamFrame:
			err = fmt.Errorf("the target resets a request: %s", f.ErrCode)
		}
	}
	c.fail(err)
}

func (c *h2Conn) control(send func() error) error {
	c.write.Lock()
	defer c.write.Unlock()
	return errors.Join(send(), c.out.Flush())
}

func (c *h2Conn) got(id uint32, code, n int, end bool) {
	c.mu.Lock()
	s := c.streams[id]
	if s == nil {
		c.mu.Unlock()
		return
	}
	if code != 0 {
		s.code = code
	}
	s.bytes += int64(n)
	// A watch's first event will do; the rest never comes.
	end = end || s.watch && n > 0 && s.code == http.StatusOK
	if end {
		delete(c.streams, id)
		c.more.Broadcast()
	}
	c.mu.Unlock()
	if end {
		s.done <- nil
	}
}

func (c *h2Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, s := range c.streams {
		delete(c.streams, id)
		s.done <- err
	}
	c.more.Broadcast()
}
