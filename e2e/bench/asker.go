package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// kind is what a load asks for.
type kind string

const (
	small    kind = "small"   // the object
	forged   kind = "forged"  // with a token that its issuer did not sign
	stranger kind = "unknown" // with a token of an issuer that nobody trusts
	garbage  kind = "garbage" // with a token that is no JWT
	download kind = "download"
	upload   kind = "upload"
	watch    kind = "watch"
	events   kind = "events" // a watch that has many events, and ends
)

// request is reused by its worker.
type request struct {
	method, path, query string
	token               string // empty: none
	body                int    // bytes
	unsized             bool   // over HTTP/2, the body's length is not announced
	watch               bool
	want                int
}

// eventsPerWatch is how many a watch of kind events has, of 1 KiB each.
const eventsPerWatch = 2000

// asker makes requests.
type asker struct {
	task  *loadTask
	paths []string
	// run and serial make tokens that were never seen before.
	run    string
	serial atomic.Uint64
	now    int64
}

func newAsker(t *loadTask) *asker {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	a := &asker{task: t, run: hex.EncodeToString(id), now: time.Now().Unix()}
	for n := range t.World.Workspaces {
		a.paths = append(a.paths, t.World.path(n))
	}
	return a
}

func (a *asker) request() *request {
	r := &request{method: http.MethodGet, want: http.StatusOK}
	if !a.task.Certificate {
		r.token = a.task.World.Token
	}
	switch a.task.Kind {
	case forged, stranger, garbage:
		r.want = http.StatusUnauthorized
	case upload:
		r.method, r.body, r.unsized = http.MethodPost, a.task.BodyMiB<<20, a.task.Unsized
	case watch:
		r.watch, r.query = true, "watch=true"
	case events:
		r.query = eventsQuery
	case small, download:
	}
	return r
}

// next makes r the i-th request.
func (a *asker) next(r *request, i int) {
	r.path = a.paths[i%len(a.paths)] + "x"
	switch a.task.Kind {
	case download:
		r.path = a.paths[i%len(a.paths)] + strconv.Itoa(a.task.BodyMiB) + "MiB"
	case watch, events: // of a collection: API servers know no watch of an object
		r.path = strings.TrimSuffix(a.paths[i%len(a.paths)], "/")
	case forged:
		r.token = a.jwt(a.task.World.Issuer)
	case stranger:
		r.token = a.jwt("https://stranger.example")
	case garbage:
		r.token = "garbage-" + a.run + "-" + strconv.FormatUint(a.serial.Add(1), 10)
	case small, upload:
	}
}

// jwt makes one that was never seen and is well in everything but its
// signature.
func (a *asker) jwt(issuer string) string {
	n := a.serial.Add(1)
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "sub": "alice", "aud": []string{audience}, "groups": []string{"developers", "reviewers"},
		"iat": a.now, "exp": a.now + 3600, "jti": a.run + strconv.FormatUint(n, 10)})
	if err != nil {
		panic(fmt.Errorf("encode claims: %w", err)) // they are strings and numbers
	}
	signature := make([]byte, 256) // RS256, 2048 bits
	_, _ = rand.Read(signature)
	signature[0] = 1 // below the modulus, so that it is really looked at
	return a.task.World.Keyed + "." + base64.RawURLEncoding.EncodeToString(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
}
