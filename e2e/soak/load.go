package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience is how long a request may take; a frozen shard is noticed after 25 s.
const patience = time.Minute

// ask is one kind of request.
type ask struct {
	kind   string
	user   *user
	method string // empty: GET
	path   string // below the place's URL
	body   []byte
	want   int
	known  string // a part of the answer
	// at is the only place that is asked; nil: all in turn.
	at *place
	// do replaces the request.
	do func(context.Context, *place) (int, error)
}

// load sends requests at a rate, whatever becomes of them.
type load struct {
	asks   []ask
	places []*place
	rate   int

	end     context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex // guards what follows
	row   *row       // the fault that counts now
	kinds map[string]*count
	lost  []string // the first few
	odd   []string // not allowed though excused, the first few
}

// count is what became of requests of one kind.
type count struct{ asked, lost int }

// start begins, until stop. No request is cut off by stop.
func (l *load) start(ctx context.Context) {
	ticking, end := context.WithCancel(ctx)
	l.end = end
	l.running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(l.rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ticking.Done():
				return
			case <-tick.C:
			}
			l.running.Go(func() { l.one(ctx, n) })
		}
	})
}

func (l *load) stop() {
	l.end()
	l.running.Wait()
	for _, a := range l.asks {
		a.user.disconnect()
	}
}

// one makes the n-th request: kinds, places and ways to connect take turns.
func (l *load) one(ctx context.Context, n int) {
	round := n / len(l.asks)
	a := &l.asks[n%len(l.asks)]
	at := cmp.Or(a.at, l.places[round%len(l.places)])
	client := []*http.Client{a.user.http1, a.user.http2, a.user.http1, a.user.http2, a.user.fresh}[round/len(l.places)%5]
	changes, refuses := at.trouble.changes.Load(), at.trouble.refuses.Load()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begin := time.Now()
	status, err := a.send(ctx, client, at)
	if ctx.Err() != nil && time.Since(begin) < patience {
		return // told to end
	}
	excused := refuses || at.trouble.refuses.Load() || at.trouble.changes.Load() != changes
	l.note(a, at, status, err, excused, time.Since(begin))
}

// class says how a request failed.
func (a *ask) class(status int) string {
	switch {
	case status == 0 && len(a.body) > uploadBytes:
		return uploadCut
	case status == 0:
		return "no answer"
	case status < http.StatusBadRequest:
		return brokeOff
	}
	return fmt.Sprint(status)
}

// Ways to fail without a status of their own.
const (
	brokeOff = "broke off" // an answer that had begun
	// uploadCut: over HTTP/1.1 the answer to an upload is lost when the client still
	// writes: net/http reads 256 KiB more at most before it closes the connection.
	uploadCut   = "upload cut off"
	uploadBytes = 256 << 10
)

// allows reports whether a request may fail in a way at a shard in trouble. A shard
// that starts answers 403 itself until it has read its roles.
func (r *row) allows(class string) bool {
	return class == "503" || class == "429" || class == brokeOff || class == uploadCut || class == "403" && strings.Contains(r.fault, "started")
}

// send returns the status, 0 if there was no answer; the error says what else was
// not as it should be.
func (a *ask) send(ctx context.Context, client *http.Client, at *place) (int, error) {
	if a.do != nil {
		return a.do(ctx, at)
	}
	r, err := http.NewRequestWithContext(ctx, cmp.Or(a.method, http.MethodGet), at.url+a.path, bytes.NewReader(a.body)) //nolint:gosec // a path of ours
	if err != nil {
		return 0, err
	}
	r.Header = a.user.header(at)
	if a.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(r) //nolint:gosec // at the proxy that we started
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	switch {
	case err != nil:
		return answer.StatusCode, fmt.Errorf("an answer of %d that breaks off: %w", answer.StatusCode, err)
	case answer.StatusCode != a.want:
		return answer.StatusCode, fmt.Errorf("%d instead of %d: %.300s", answer.StatusCode, a.want, text)
	case !strings.Contains(string(text), a.known):
		return answer.StatusCode, fmt.Errorf("an answer without %s: %.300s", a.known, text)
	}
	return answer.StatusCode, nil
}

// note counts a request. Who is refused at a shard in trouble is not lost.
func (l *load) note(a *ask, at *place, status int, err error, excused bool, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[a.kind]
	if k == nil {
		k = &count{}
		l.kinds[a.kind] = k
	}
	k.asked++
	l.row.requests++
	if excused {
		if err != nil {
			l.row.refused[a.class(status)]++
			if !l.row.allows(a.class(status)) && len(l.odd) < 20 {
				l.odd = append(l.odd, fmt.Sprintf("%s, %s at the shard in trouble: %s: %v", time.Now().Format(time.TimeOnly), l.row.fault, a.kind, err))
			}
		}
		return
	}
	l.row.slowest = max(l.row.slowest, took)
	if err == nil {
		return
	}
	k.lost++
	l.row.lost++
	if len(l.lost) < 20 {
		l.lost = append(l.lost, fmt.Sprintf("%s, %s, %s in %s after %s: %v", time.Now().Format(time.TimeOnly), l.row.fault, a.kind, at.Path, took.Round(time.Millisecond), err))
	}
}

// sum is the number of requests, and how many were lost.
func (l *load) sum() (total count, kinds []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(l.kinds)) {
		total.asked += l.kinds[k].asked
		total.lost += l.kinds[k].lost
		kinds = append(kinds, fmt.Sprintf("%s %d", k, l.kinds[k].asked))
	}
	return total, kinds
}

// under has what follows counted under a fault, and returns its line.
func (l *load) under(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row = r
	r.times++
}
