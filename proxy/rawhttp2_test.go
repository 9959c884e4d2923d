package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2 opens an HTTP/2 connection, for a test that writes its frames. It ends
// with the test, or after stuck.
func (f *front) http2(t *testing.T, settings ...http2.Setting) (net.Conn, *http2.Framer) {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(stuck))
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.AllowIllegalWrites = true
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return conn, framer
}

// asks are the fields of a request; pairs are names and values of more.
func asks(method, path string, pairs ...string) []field {
	fields := []field{{":method", method}, {":scheme", "https"}, {":authority", "front.example"}, {":path", path}}
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, field{pairs[i], pairs[i+1]})
	}
	return fields
}

// writeHeaders writes a block of fields; end: nothing follows it on the stream. The
// fields are compressed without a table, so that connections need no state.
func writeHeaders(t *testing.T, framer *http2.Framer, stream uint32, end bool, fields []field) {
	t.Helper()
	frames := slices.Collect(slices.Chunk(block(fields), clientFrame))
	err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: frames[0], EndStream: end, EndHeaders: len(frames) == 1})
	for i, frame := range frames[1:] {
		err = errors.Join(err, framer.WriteContinuation(stream, i == len(frames)-2, frame))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func block(fields []field) []byte {
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	encoder.SetMaxDynamicTableSize(0)
	for _, f := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}) // memory
	}
	return b.Bytes()
}

// await reads frames until one is what is awaited.
func await(t *testing.T, framer *http2.Framer, what string, is func(http2.Frame) bool) {
	t.Helper()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("awaiting %s: %v", what, err)
		}
		if is(frame) {
			return
		}
	}
}

// awaitData reads frames until some of an answer's body has come.
func awaitData(t *testing.T, framer *http2.Framer) {
	t.Helper()
	await(t, framer, "some of the answer's body", func(frame http2.Frame) bool {
		data, ok := frame.(*http2.DataFrame)
		return ok && len(data.Data()) > 0
	})
}

// idle waits until no request is under way, and checks that all of them have given
// back what they held.
func (f *front) idle(t *testing.T) {
	t.Helper()
	until(t, "no request is under way", func() bool { return f.inFlight.Load() == 0 })
	until(t, "everything is given back", func() bool { return f.held() == "" })
}

// held tells what requests hold: empty when that is nothing.
func (f *front) held() string {
	var held []string
	count := func(what string, n int64) {
		if n != 0 {
			held = append(held, what)
		}
	}
	l := &f.limit
	count("places of all", l.all.Load())
	for i := range l.clusters {
		count("places of a cluster", l.clusters[i].Load())
	}
	for name, n := range l.shards.Range {
		count("places at "+name.(string), n.(*atomic.Int64).Load())
	}
	for name, b := range map[string]*memoryBudget{"requests": &l.requests, "stream starts": &l.streamStarts, "open streams": &l.openStreams, "heads": &f.listeners.connections.heads.memoryBudget} {
		count(name+": bytes", b.used.Load())
		for i := range b.accounts {
			count(name+": bytes of an account", b.accounts[i].Load())
		}
		for i := range b.groups {
			count(name+": bytes of a group", b.groups[i].Load())
		}
	}
	return strings.Join(held, ", ")
}
