package issuer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts what is read of it.
type counted struct {
	io.Reader
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

// TestLargeBodiesTakeTurns: without a place no more than the beginning is read,
// and memory is bounded by the places.
func TestLargeBodiesTakeTurns(t *testing.T) {
	f := &fetcher{bodies: make(chan struct{}, 1)}
	read := func(ctx context.Context, size int) (*counted, []byte, error) {
		from := &counted{Reader: strings.NewReader(strings.Repeat("x", size))}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := f.body(ctx, cancel, from)
		return from, body, err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	f.bodies <- struct{}{} // somebody reads
	if _, body, err := read(ended, smallBody-1); err != nil || len(body) != smallBody-1 {
		t.Errorf("a small body: %d bytes, %v", len(body), err)
	}
	if from, body, err := read(ended, MaxBody); !errors.Is(err, context.Canceled) || body != nil || from.read > smallBody {
		t.Errorf("a large body without a place: %d bytes read, %v", from.read, err)
	}
	<-f.bodies
	for _, size := range []int{smallBody, smallBody + 1, MaxBody, 3 * MaxBody} {
		want := min(size, MaxBody+1)
		from, body, err := read(context.Background(), size)
		if err != nil || len(body) != want || cap(body) > MaxBody+bytes.MinRead+1 || from.read > MaxBody+1 || len(f.bodies) != 0 {
			t.Errorf("%d bytes: %d of capacity %d, %d read, %d places taken, %v", size, len(body), cap(body), from.read, len(f.bodies), err)
		}
	}
}

// TestSlowLargeBodiesAreCutOff: none keeps its place for longer than largeTime.
func TestSlowLargeBodiesAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{bodies: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		reader, writer := io.Pipe()
		context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) }) // as net/http does with a body
		go func() { _, _ = writer.Write(make([]byte, smallBody+1)) }()
		begin := time.Now()
		if _, err := f.body(ctx, cancel, reader); !errors.Is(err, context.Canceled) || len(f.bodies) != 0 {
			t.Errorf("%v, %d places taken", err, len(f.bodies))
		}
		if passed := time.Since(begin); passed != largeTime {
			t.Errorf("cut off after %s, want %s", passed, largeTime)
		}
	})
}
