package proxy

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// unreadFrames are frames of which net/http answers each with one or more, which it queues while its client does
// not read.
var unreadFrames = []struct {
	name  string
	write func(framer *http2.Framer) error
}{
	{"pings", func(framer *http2.Framer) error { return framer.WritePing(false, [8]byte{}) }},
	{"window updates of nothing", func(framer *http2.Framer) error { return framer.WriteWindowUpdate(1, 0) }},
	{"data of a stream that has ended", func(framer *http2.Framer) error { return framer.WriteData(1, false, []byte("x")) }},
}

// TestUnreadAnswersToFrames: the client is charged for them.
func TestUnreadAnswersToFrames(t *testing.T) {
	for _, tt := range unreadFrames {
		t.Run(tt.name, func(t *testing.T) {
			w := refusing(t)
			w.prepare = func(p *Proxy) { p.listeners.connections.Listener = smallBuffers{p.listeners.connections.Listener} }
			f := w.front(t)
			charged := &f.listeners.connections.heads.used
			const bytes = 300 << 10
			var framer *http2.Framer
			if kept := f.keeps(t, 3, func() {
				_, framer = f.http2(t)
				writeHeaders(t, framer, 1, true, asks("GET", "/clusters/root:ws/api"))
				await(t, framer, "the answer", func(frame http2.Frame) bool {
					return frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream)
				})
				before := charged.Load()
				for sent := 0; charged.Load() < before+bytes; sent++ {
					if err := tt.write(framer); err != nil {
						t.Fatalf("%d bytes are charged after %d frames: %v", charged.Load()-before, sent, err)
					}
					if sent%200 == 0 {
						time.Sleep(5 * time.Millisecond) // they are read
					}
				}
			}); kept > mostKept {
				t.Errorf("a connection keeps %d bytes that it is not charged for", kept)
			}
		})
	}
}

// TestQueuesOfControlFramesAreKept: net/http keeps its two lists of answers when the client has read them.
func TestQueuesOfControlFramesAreKept(t *testing.T) {
	w := refusing(t)
	w.prepare = func(p *Proxy) { p.listeners.connections.Listener = smallBuffers{p.listeners.connections.Listener} }
	f := w.front(t)
	charged := &f.listeners.connections.heads.used
	if kept := f.keeps(t, 5, func() {
		_, framer := f.http2(t)
		before, sent := charged.Load(), 0
		ping := func(n int) {
			for range n {
				if err := framer.WritePing(false, [8]byte{}); err != nil {
					t.Fatalf("%d bytes are charged after %d frames: %v", charged.Load()-before, sent, err)
				}
				if sent++; sent%200 == 0 {
					time.Sleep(5 * time.Millisecond) // they are read
				}
			}
		}
		read := func(n int) {
			for range n {
				await(t, framer, "an answer", func(frame http2.Frame) bool { return frame.Header().Type == http2.FramePing })
			}
			sent -= n
		}
		for charged.Load() < before+900<<10 {
			ping(1)
		}
		read(sent - 200)
		ping(9000)
		read(sent)
	}); kept > mostKept {
		t.Errorf("a connection keeps %d bytes that it is not charged for", kept)
	}
}

// TestQueuedControlFrames: only frames that may have an answer in net/http's queue are charged.
func TestQueuedControlFrames(t *testing.T) {
	for name, tt := range map[string]struct {
		run  func(q *queuedControlFrames) (most int64)
		want int64
	}{
		"a client that reads nothing": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 17))
			return q.add(600)
		}, 100 * controlFrameCost},
		"as many as net/http queues": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 17))
			return q.add(1 << 20)
		}, (maxControlFrames - freeControlFrames) * controlFrameCost},
		"read before the write began": {func(q *queuedControlFrames) int64 {
			q.endWrite(17)
			q.add(600)
			q.beginWrite(make([]byte, 17))
			return q.add(0)
		}, 100 * controlFrameCost},
		"a client that reads some": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 17))
			q.add(1000)
			q.endWrite(17)
			q.beginWrite(make([]byte, http2Buffer))
			q.endWrite(http2Buffer)
			return q.add(1000)
		}, (1500 - http2Buffer/largeControlFrame) * controlFrameCost},
		"a client that reads all": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 17))
			q.add(1000)
			q.endWrite(17)
			for range 4 {
				q.beginWrite(make([]byte, http2Buffer))
				q.endWrite(http2Buffer)
			}
			q.beginWrite(make([]byte, 17000-4*http2Buffer))
			return q.add(0)
		}, 500 * controlFrameCost},
		"a client that reads as fast as it sends, after a while": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 17))
			q.add(3000)
			q.endWrite(17)
			for range 100 {
				q.beginWrite(make([]byte, http2Buffer))
				q.add(200)
				q.endWrite(http2Buffer)
			}
			return q.add(0)
		}, 2700 * controlFrameCost},
		"a client that has not read for a while, although there were few answers": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 26))
			q.add(5000)
			q.endWrite(26)
			q.beginWrite(make([]byte, 26))
			return q.add(0)
		}, 0},
		"a large frame is no answer": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, 32<<10))
			q.add(1000)
			q.endWrite(32 << 10)
			q.beginWrite(make([]byte, http2Buffer))
			return q.add(1000)
		}, (1500 - http2Buffer/largeControlFrame) * controlFrameCost},
		"a GOAWAY goes first": {func(q *queuedControlFrames) int64 {
			q.beginWrite(make([]byte, http2Buffer))
			q.add(1000)
			q.endWrite(http2Buffer)
			q.beginWrite([]byte{0, 0, 8, goAwayFrame, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			return q.add(1000)
		}, (1500 - http2Buffer/largeControlFrame) * controlFrameCost},
		"a large download, with updates of two windows for each 4 KiB": {func(q *queuedControlFrames) (most int64) {
			for range 100000 {
				q.beginWrite(make([]byte, 16<<10))
				most = max(most, q.add(8))
				q.endWrite(16 << 10)
			}
			return most
		}, 0},
		"a large upload": {func(q *queuedControlFrames) (most int64) {
			for range 100000 {
				most = max(most, q.add(2))
				q.beginWrite(make([]byte, 26))
				most = max(most, q.add(2))
				q.endWrite(26)
			}
			return most
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.run(&queuedControlFrames{}); got != tt.want {
				t.Errorf("%d bytes are charged, want %d", got, tt.want)
			}
		})
	}
}

// smallBuffers is a listener whose connections have small buffers for what is sent.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return conn, err
}
