package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"frontproxy/e2e/harness"
)

// stream is a watch of ConfigMaps that is opened again whenever it ends.
type stream struct {
	user *user
	at   *place
	how  string // h1, h2 or websocket

	open    atomic.Bool
	seen    atomic.Int64 // the last beat
	restart atomic.Pointer[context.CancelFunc]
}

func (s *stream) String() string { return s.user.name + "'s watch of " + s.at.Path + " by " + s.how }

// streams are all of them, over connections of their own.
type streams struct {
	all       []*stream
	servingCA []byte
	load      *load // whose lines count ends

	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows
	opened   int
	expected int      // ends
	others   []string // ends that nothing explains
}

// add makes n watches of a user in a place: of ten, four over HTTP/1.1, one
// over WebSocket, and five that share one HTTP/2 connection.
func (w *streams) add(u *user, at *place, n int) {
	for i := range n {
		w.all = append(w.all, &stream{user: u, at: at, how: []string{"h2", "h1", "h2", "h1", "websocket", "h2", "h1", "h2", "h1", "h2"}[i%10]})
	}
}

func (w *streams) start(ctx context.Context) {
	ctx, w.end = context.WithCancel(ctx)
	shared := map[*user]*http.Client{}
	for _, s := range w.all {
		if shared[s.user] == nil {
			shared[s.user] = &http.Client{Transport: &http.Transport{TLSClientConfig: s.user.tls(w.servingCA), ForceAttemptHTTP2: true}}
		}
		client := shared[s.user]
		if s.how == "h1" {
			config := s.user.tls(w.servingCA)
			config.NextProtos = []string{"http/1.1"}
			client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		}
		w.running.Go(func() { w.keep(ctx, s, client) })
	}
	w.running.Go(func() {
		<-ctx.Done()
		for _, c := range shared {
			c.CloseIdleConnections()
		}
	})
}

func (w *streams) stop() {
	w.end()
	w.running.Wait()
}

// keep opens a stream until ctx ends, and judges each of its ends.
func (w *streams) keep(ctx context.Context, s *stream, client *http.Client) {
	for ctx.Err() == nil {
		if !s.user.away.Load() {
			own, cancel := context.WithCancel(ctx)
			s.restart.Store(&cancel)
			err := w.read(own, s, client)
			if was := s.open.Swap(false); was && own.Err() == nil {
				w.ended(s, err)
			}
			cancel()
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond): // others use the machine
		}
	}
}

func (w *streams) ended(s *stream, err error) {
	expected := s.user.away.Load() || s.at.trouble.endsStreams.Load()
	w.load.mu.Lock()
	if expected {
		w.load.row.ended++
	} else {
		w.load.row.endedOtherwise++
	}
	fault := w.load.row.fault
	w.load.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if expected {
		w.expected++
		return
	}
	w.others = append(w.others, fmt.Sprintf("%s, %s: %s ended: %v", time.Now().Format(time.TimeOnly), fault, s, err))
}

// watching asks for more than any run lasts: otherwise shards end watches after
// half an hour or an hour.
const watching = "?watch=true&timeoutSeconds=86400"

// event is what is looked at in a watch's event.
type event struct {
	Type   string `json:"type"`
	Object struct {
		Message  string                `json:"message"`
		Metadata struct{ Name string } `json:"metadata"`
		Data     struct {
			Beat int64 `json:"beat,string"`
		} `json:"data"`
	} `json:"object"`
}

// read opens the stream and reads it to its end.
func (w *streams) read(ctx context.Context, s *stream, client *http.Client) error {
	next, closer, err := w.dial(ctx, s, client)
	if err != nil {
		return err
	}
	defer closer()
	s.open.Store(true)
	w.mu.Lock()
	w.opened++
	w.mu.Unlock()
	for {
		var e event
		if err := next(&e); err != nil {
			return err
		}
		if e.Type == "ERROR" {
			return errors.New(e.Object.Message)
		}
		if e.Object.Metadata.Name == beatName {
			s.seen.Store(max(s.seen.Load(), e.Object.Data.Beat))
		}
	}
}

func (w *streams) dial(ctx context.Context, s *stream, client *http.Client) (next func(any) error, closer func(), err error) {
	url, header := s.at.configMaps()+watching, s.user.header(s.at)
	if s.how == "websocket" {
		conn, err := dialWebsocket(ctx, url, header, s.user.tls(w.servingCA))
		if err != nil {
			return nil, nil, err
		}
		closer := context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn.ReadJSON, func() { closer(); _ = conn.Close() }, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header = header
	answer, err := client.Do(r) //nolint:bodyclose // closer does
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		return nil, nil, fmt.Errorf("%s: %.300s", answer.Status, text)
	}
	return json.NewDecoder(answer.Body).Decode, func() { _ = answer.Body.Close() }, nil
}

func dialWebsocket(ctx context.Context, url string, header http.Header, config *tls.Config) (*websocket.Conn, error) {
	config.NextProtos = []string{"http/1.1"}
	header.Set("Origin", "https://example.com") // a shard refuses to upgrade without one
	dialer := websocket.Dialer{TLSClientConfig: config, HandshakeTimeout: patience}
	conn, answer, err := dialer.DialContext(ctx, "wss"+strings.TrimPrefix(url, "https"), header)
	if answer != nil {
		_ = answer.Body.Close()
		if err != nil {
			return nil, statusError{answer.StatusCode, err}
		}
	}
	return conn, err
}

// statusError is an answer that was not wanted.
type statusError struct {
	status int
	error
}

// awaitBeat waits until every stream that should be open has seen a beat.
func (w *streams) awaitBeat(ctx context.Context, beat int64) error {
	return harness.Eventually(ctx, time.Minute, "all watches to be open and to see an event", func(context.Context) error {
		for _, s := range w.all {
			if away := s.user.away.Load(); !away && (!s.open.Load() || s.seen.Load() < beat) {
				return fmt.Errorf("%s is open: %t, and has seen %d of %d", s, s.open.Load(), s.seen.Load(), beat)
			}
		}
		return nil
	})
}

// awaitOpen waits until all streams of a user are open, or none.
func (w *streams) awaitOpen(ctx context.Context, u *user, open bool) error {
	return harness.Eventually(ctx, 90*time.Second, fmt.Sprintf("%s's watches to be open: %t", u.name, open), func(context.Context) error {
		for _, s := range w.all {
			if s.user == u && s.open.Load() != open {
				return fmt.Errorf("%s is open: %t", s, s.open.Load())
			}
		}
		return nil
	})
}

// reopen has half of the streams in a place connect again.
func (w *streams) reopen(at *place) {
	for n, s := range w.all {
		if cancel := s.restart.Load(); s.at == at && n%2 == 0 && cancel != nil {
			(*cancel)()
		}
	}
}
