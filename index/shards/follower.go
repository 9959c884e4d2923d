package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/klog/v2"

	"frontproxy/internal/backoff"
)

const (
	pageSize = 500
	// watchTime is the minimum, and half the maximum, for which a server is asked to
	// keep a watch open.
	watchTime = 5 * time.Minute
	// shortWatch: a watch that ends sooner without an event counts as failed.
	shortWatch = time.Second
)

var (
	errShortWatch = errors.New("the watch ended at once")
	errEarlyEnd   = errors.New("the streamed list ended before it was complete")
)

// follower keeps one table up to date with one resource on one server.
type follower struct {
	client *client
	newObj func() Object
	plain  *fastDecoder // of newObj's objects
	table  Table
	// path returns the resource's path. stale is a path that got 404; path does not
	// return it from its cache.
	path func(ctx context.Context, stale string) (string, error)
	note *statusRecorder
	log  klog.Logger
	// listIdleTimeout is how long a streamed list may send nothing.
	listIdleTimeout time.Duration
	// watchIdleTimeout is how long a watch may send nothing.
	watchIdleTimeout time.Duration
	backoff          Backoff
	// from has the servers for failover; nil: there are none.
	from *endpoints

	version string // that the table has reached; empty: list first
	stale   string // path that got 404
	noPages bool   // a page's token expired: ask for the next list whole
	// noStream: the server accepted a streamed list and never sent its end.
	noStream bool
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	var r retries
	for {
		progress, err := f.cycle(ctx)
		if ctx.Err() != nil {
			return
		}
		if progress {
			r = retries{}
		}
		if err == nil {
			if f.from != nil && f.from.unlisted() {
				f.failover()
			}
			continue
		}
		f.failed(err)
		wait := r.after(err, f.backoff)
		if f.from != nil && !expired(err) {
			f.failover()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// retries counts a follower's consecutive cycles without progress.
type retries struct {
	failures int // without an answer of the server that the version has expired
	expired  int // with one
}

// after returns the pause after err. A server that says that a version has expired is
// there again, whatever failed before: one that starts answers so until its cache has
// caught up with its storage. So the first such answer brings no pause, and the next
// ones a short one, which grows.
func (r *retries) after(err error, b Backoff) time.Duration {
	if !expired(err) {
		r.failures++
		return b.delay(r.failures - 1)
	}
	r.failures = 0
	if r.expired++; r.expired == 1 {
		return 0
	}
	return b.delay(r.expired - 2)
}

func (f *follower) failed(err error) {
	if expired(err) {
		f.version = ""
	}
	if before := f.note.get(); expired(err) || before.State == Failed && before.Error == err.Error() {
		f.log.V(3).Info("Watch failed again", "err", err)
	} else {
		message := "Watch failed; what was read before stays served, and it is tried again"
		if !before.Synced {
			message = "Watch failed before anything was read; it is tried again"
		}
		f.log.Error(err, message)
	}
	f.note.failed(err)
}

// failover changes to the next source, if there is one.
func (f *follower) failover() {
	if !f.from.advance() {
		return
	}
	f.client = f.from.current.client
	// A version is meaningful only to the server that issued it.
	f.version, f.stale, f.noPages, f.noStream = "", "", false, false
	f.log.Info("Reading shards from another server now", "server", f.from.current.name)
}

// cycle lists if necessary, and watches until the watch ends. progress reports
// whether the watch delivered an event or lasted long enough.
func (f *follower) cycle(ctx context.Context) (progress bool, err error) {
	path, err := f.path(ctx, f.stale)
	if err != nil {
		return false, err
	}
	f.stale = ""
	defer func() {
		if notFound(err) {
			f.stale, f.version = path, ""
		}
	}()
	if f.version != "" {
		if err = f.verifyResourceVersion(ctx, path); err != nil {
			return false, err
		}
	}
	var s *stream
	if f.version == "" {
		if s, err = f.read(ctx, path); err != nil {
			return false, err
		}
		if f.from != nil {
			f.from.read()
		}
	}
	if s == nil {
		if s, err = f.open(ctx, path, url.Values{"resourceVersion": {f.version}}); err != nil {
			return false, err
		}
	}
	defer s.close()
	if f.note.enter(Synced) {
		f.log.Info("Watch is synced", "objects", f.note.get().Objects)
	}
	return f.follow(s)
}

// read updates the table by a list. A streamed list continues as the watch that read
// returns.
func (f *follower) read(ctx context.Context, path string) (*stream, error) {
	f.note.syncing()
	if !f.noStream {
		s, err := f.streamList(ctx, path)
		if err == nil || notFound(err) || ctx.Err() != nil {
			return s, err
		}
		f.log.V(4).Info("Streamed list failed; listing in pages", "err", err)
	}
	return nil, f.pages(ctx, path)
}

// follow applies a watch's events until it ends.
func (f *follower) follow(s *stream) (progress bool, err error) {
	start := time.Now()
	timer := time.AfterFunc(f.watchIdleTimeout, func() {
		s.silent.Store(true)
		s.close()
	})
	defer timer.Stop()
	for {
		e, err := s.next()
		if err != nil {
			lasted := time.Since(start) >= shortWatch
			switch {
			case s.silent.Load():
				return true, nil // the next request shows whether the server is still there
			case errors.Is(err, io.EOF) && (progress || lasted):
				return true, nil
			case errors.Is(err, io.EOF):
				return false, errShortWatch
			}
			return progress || lasted, fmt.Errorf("watch: %w", err)
		}
		if e.Type == "ERROR" {
			return progress, fmt.Errorf("watch: %w", newAnswerError(0, e.Object))
		}
		timer.Reset(f.watchIdleTimeout)
		progress = true
		if v, _ := f.apply(e); v != "" {
			f.version = v
		}
		f.note.changed(e.Type)
	}
}

// streamList asks for the list as a stream of events (WatchList).
func (f *follower) streamList(ctx context.Context, path string) (*stream, error) {
	s, err := f.open(ctx, path, url.Values{
		"sendInitialEvents":    {"true"},
		"resourceVersionMatch": {string(metav1.ResourceVersionMatchNotOlderThan)},
	})
	if err != nil {
		return nil, err
	}
	timer := time.AfterFunc(f.listIdleTimeout, func() {
		s.silent.Store(true)
		s.close()
	})
	defer timer.Stop()
	count := 0
	f.table.Begin()
	for {
		e, err := s.next()
		if err == nil && e.Type == "ERROR" {
			err = newAnswerError(0, e.Object)
		}
		if err != nil {
			s.close()
			f.noStream = s.silent.Load()
			return nil, fmt.Errorf("%w: %w", errEarlyEnd, err)
		}
		timer.Reset(f.listIdleTimeout)
		version, end := f.apply(e)
		if !end {
			count++
			continue
		}
		f.table.End(version)
		f.version = version
		f.note.listed(count)
		return s, nil
	}
}

// verifyResourceVersion resets the version if the server has not reached it: its
// storage was replaced, and a watch from that version would send nothing for a long
// time.
func (f *follower) verifyResourceVersion(ctx context.Context, path string) error {
	var page listPage
	if err := f.client.get(ctx, path, url.Values{"limit": {"1"}}, &page); err != nil {
		return fmt.Errorf("read the current version: %w", err)
	}
	now, err := strconv.ParseUint(page.Metadata.ResourceVersion, 10, 64)
	reached, err2 := strconv.ParseUint(f.version, 10, 64)
	if err == nil && err2 == nil && now < reached {
		f.log.Info("The server is behind a version that it had reached; listing again", "reached", reached, "now", now)
		f.version = ""
	}
	return nil
}

// listPage is a list or a page of one.
type listPage struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// pages lists in pages, from the server's current state.
func (f *follower) pages(ctx context.Context, path string) error {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if f.noPages {
		query.Del("limit")
	}
	f.noPages = false
	f.table.Begin()
	count := 0
	for {
		var page listPage
		if err := f.client.get(ctx, path, query, &page); err != nil {
			f.noPages = expired(err)
			return fmt.Errorf("list: %w", err)
		}
		for _, item := range page.Items {
			f.upsert(item)
		}
		count += len(page.Items)
		if page.Metadata.Continue != "" {
			query.Set("continue", page.Metadata.Continue)
			continue
		}
		if page.Metadata.ResourceVersion == "" {
			return errors.New("list: no resourceVersion to watch from")
		}
		f.table.End(page.Metadata.ResourceVersion)
		f.version = page.Metadata.ResourceVersion
		f.note.listed(count)
		return nil
	}
}

// bookmark has the fields of a BOOKMARK event's object.
type bookmark struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Annotations     struct {
			End string `json:"k8s.io/initial-events-end"`
		} `json:"annotations"`
	} `json:"metadata"`
}

// apply passes an event to the table. It returns the version in the event, if there
// is one, and whether the event ends a streamed list.
func (f *follower) apply(e *event) (version string, end bool) {
	switch e.Type {
	case "ADDED", "MODIFIED":
		return f.upsert(e.Object), false
	case "DELETED":
		o := f.decode(e.Object)
		if o == nil {
			return "", false
		}
		f.table.Delete(o)
		return o.Version(), false
	case "BOOKMARK":
		var b bookmark
		if err := utiljson.Unmarshal(e.Object, &b); err != nil {
			return "", false
		}
		return b.Metadata.ResourceVersion, b.Metadata.Annotations.End == "true"
	}
	return "", false
}

func (f *follower) upsert(raw json.RawMessage) (version string) {
	o := f.decode(raw)
	if o == nil {
		return ""
	}
	f.table.Upsert(o)
	return o.Version()
}

// decode returns nil for an object that does not fit the watch's type.
func (f *follower) decode(raw json.RawMessage) Object {
	o := f.newObj()
	if f.plain.decode(raw, reflect.ValueOf(o).Elem()) {
		return o
	}
	o = f.newObj()
	if err := utiljson.Unmarshal(raw, o); err != nil {
		f.log.Error(err, "Skipped an object that cannot be decoded")
		f.note.skipped()
		return nil
	}
	return o
}

// open starts a watch with the given parameters.
func (f *follower) open(ctx context.Context, path string, query url.Values) (*stream, error) {
	asked := watchTime + rand.N(watchTime) //nolint:gosec // spreads reconnects, no secret
	query.Set("watch", "true")
	query.Set("allowWatchBookmarks", "true")
	query.Set("timeoutSeconds", strconv.Itoa(int(asked.Seconds())))
	b, err := f.client.open(ctx, path, query)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	s := &stream{body: b, frames: newFrames(b)}
	// The client enforces the time limit, in case the server does not.
	s.limit = time.AfterFunc(asked+time.Minute, s.close)
	return s, nil
}

// stream is an open watch.
type stream struct {
	body   io.ReadCloser
	frames frames
	last   event
	limit  *time.Timer
	// silent: the stream was closed because it sent nothing.
	silent atomic.Bool
}

// next returns the next event, valid until the following call; io.EOF at the end.
func (s *stream) next() (*event, error) {
	frame, err := s.frames.next()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF // the connection was cut, which the next request notices
	}
	if err != nil {
		return nil, err
	}
	if err := s.last.read(frame); err != nil {
		return nil, err
	}
	return &s.last, nil
}

func (s *stream) close() {
	s.limit.Stop()
	_ = s.body.Close()
}

// Backoff is the pause after consecutive failures: First, doubled up to Max; half of
// it is random.
type Backoff struct {
	First, Max time.Duration
}

func (b Backoff) delay(failures int) time.Duration {
	d := backoff.Exponential(b.First, b.Max, failures)
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads retries, no secret
}

// failureReason returns the kind of a failure, for a metric's label.
func failureReason(err error) string {
	var a *answerError
	switch {
	case expired(err):
		return "expired"
	case notFound(err):
		return "not_found"
	case errors.As(err, &a) && (a.Code == http.StatusForbidden || a.Code == http.StatusUnauthorized):
		return "refused"
	case errors.As(err, &a):
		return "answer"
	}
	return "connection"
}
