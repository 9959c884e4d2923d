package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/index"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing/routingtest"
	"frontproxy/proxy/watchframes"
)

// collector is a client that reads everything.
type collector struct {
	bytes.Buffer
	closed bool
}

func (c *collector) send(buf []byte, n int) error {
	c.Write(buf[chunkHead : chunkHead+n])
	return nil
}

func (c *collector) close(http.Header) error {
	c.closed = true
	return nil
}

// TestTimesOfMovedWatches: how long a watch waits for a frame's end and for a move's.
func TestTimesOfMovedWatches(t *testing.T) {
	files := routingtest.NewFiles(t)
	for name, tc := range map[string]struct {
		path  string // "": of a collection, which is watched
		query string
		said  string        // by the shard, at the beginning
		after time.Duration // when the shard ends the watch; 0: never
		moves map[time.Duration]index.MoveState
		ends  time.Duration
		told  bool // by an ERROR event
		cut   bool
	}{
		"moved between frames":               {said: "{}\n", moves: map[time.Duration]index.MoveState{time.Minute: index.Moved}, ends: time.Minute, told: true},
		"moved within a frame that stays":    {said: "{}\n{", moves: map[time.Duration]index.MoveState{time.Minute: index.Moved}, ends: time.Minute + frameWait, cut: true},
		"ended early, and nothing moves":     {after: time.Minute, ends: time.Minute + moveGrace},
		"ended early, the sign comes late":   {after: time.Minute, moves: map[time.Duration]index.MoveState{time.Minute + moveGrace/2: index.Moving, 3 * time.Minute: index.Moved}, ends: 3 * time.Minute, told: true},
		"ended early, and the cluster stays": {after: time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving, 3 * time.Minute: index.NotMoving}, ends: 3 * time.Minute},
		"ended when its client asked":        {query: "timeoutSeconds=300", after: 5 * time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving}, ends: 5 * time.Minute},
		"a move that takes too long":         {query: "timeoutSeconds=300", after: time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving}, ends: 5 * time.Minute},
		"a move that takes longer":           {after: time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving}, ends: watchTimeout},
		"logs that move":                     {path: "/api/v1/namespaces/n/pods/p/log", said: "{}\n", moves: map[time.Duration]index.MoveState{time.Minute: index.Moved}, ends: time.Minute, cut: true},
		"logs that end":                      {path: "/api/v1/namespaces/n/pods/p/log", said: "{}\n", after: time.Minute, ends: time.Minute},
		"another server's answer that ends":  {path: "/api/v1/namespaces/n/services/s/proxy/x", after: time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving}, ends: time.Minute},
		"ended early within a frame":         {said: "{", after: time.Minute, moves: map[time.Duration]index.MoveState{time.Second: index.Moving, 3 * time.Minute: index.Moved}, ends: 3 * time.Minute, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{Files: files}
			mappings := w.mappings(t, routingtest.ShardsMapping)
			synctest.Test(t, func(t *testing.T) {
				moves := newFakeMoves()
				c := Config{Decider: deciderFunc(nil), Moves: moves}
				c.Routing.Mappings, c.Routing.Index = mappings, fakeIndex{}
				p, err := New(c)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				body, shard := io.Pipe()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/x?watch=1&"+tc.query, nil)
				if err != nil {
					t.Fatal(err)
				}
				path := "/api/v1/configmaps"
				if tc.path != "" {
					path = tc.path
				}
				to := destination.Destination{Kind: destination.Shard, APIPath: path, Target: index.Target{Cluster: "c", Shard: shardAt("old", nil)}}
				watched := p.streams.newWatch(r, &http.Response{Body: body, Header: http.Header{"Content-Type": {jsonMedia}}}, &to, nil, nil)
				go func() {
					if tc.said != "" {
						_, _ = io.WriteString(shard, tc.said)
					}
					if tc.after != 0 {
						time.Sleep(tc.after)
						_ = shard.Close()
					}
				}()
				for at, s := range tc.moves {
					time.AfterFunc(at, func() { moves.set("c", "old", s) })
				}
				var client collector
				err = watched.copy(&client)
				took := time.Since(begin).Truncate(100 * time.Millisecond) // of the spread
				watched.close()
				if took != tc.ends || errors.Is(err, errMoved) != tc.cut || !tc.cut && err != nil || client.closed == tc.cut {
					t.Errorf("ended after %v with %v, closed: %v; want after %v, cut: %v", took, err, client.closed, tc.ends, tc.cut)
				}
				want := tc.said
				if tc.told {
					want += string(p.streams.moveErrors[watchframes.JSON])
				}
				if diff := cmp.Diff(want, client.String()); diff != "" {
					t.Errorf("the client has (-want +got):\n%s", diff)
				}
				time.Sleep(time.Hour) // timers that are left
			})
		})
	}
}
