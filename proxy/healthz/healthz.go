// Package healthz answers health checks, as Kubernetes' components do: /livez, /healthz, which is
// the same, and /readyz. It decides when the proxy is ready.
//
// It must not know requests, nor the proxy: it gets the status of the shards.
package healthz

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"frontproxy/index/shards"
)

// patience is how long a shard may fail before it no longer delays readiness:
// requests for that shard get 503, but all others must be served.
const patience = 30 * time.Second

// Health answers health checks locally, to anybody, before any mapping. So it names no shard,
// and tells neither addresses nor errors: /statusz does, to those who may read it.
type Health struct {
	// Now is the clock.
	Now func() time.Time
	// Shards says which shards have been read. Nil: there is nothing to wait for.
	Shards   func() shards.Status
	draining atomic.Bool
}

// Drain makes /readyz fail from now on.
func (h *Health) Drain() { h.draining.Store(true) }

// check is one line of a verbose answer.
type check struct {
	name string
	ok   bool
	note string
}

// Serve answers health checks; false when r is none.
func (h *Health) Serve(w http.ResponseWriter, r *http.Request) bool {
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var checks []check
	switch kind {
	case "livez", "healthz":
		checks = []check{{name: "ping", ok: true}}
	case "readyz":
		checks = h.readiness()
	default:
		return false
	}
	if name != "" {
		checks = slices.DeleteFunc(checks, func(c check) bool { return c.name != name })
	}
	if len(checks) == 0 {
		http.NotFound(w, r)
		return true
	}
	_, verbose := r.URL.Query()["verbose"]
	report(w, kind, checks, verbose)
	return true
}

// readiness: root has answered, and each listed shard has synced or has failed
// for a while.
func (h *Health) readiness() []check {
	checks := []check{{name: "ping", ok: true}, {name: "shutdown", ok: !h.draining.Load()}}
	if h.Shards == nil {
		return checks
	}
	s, now := h.Shards(), h.Now()
	checks = append(checks, check{name: "root", ok: s.Root.Synced, note: progress(s.Root.State, s.Root.Synced)})
	if !s.Root.Synced { // which shards there are is not known
		return checks
	}
	return append(checks, h.synced(s.Shards, now))
}

// synced is the check of all shards together.
func (h *Health) synced(all []shards.ShardStatus, now time.Time) check {
	c := check{name: "shards", ok: true, note: string(shards.Synced)}
	for _, sh := range all {
		given := sh.State == shards.Failed && now.Sub(sh.Since.Time) >= patience
		switch {
		case !sh.Synced && !given:
			c.ok, c.note = false, "not all have been read; see the log or /statusz"
			return c
		case sh.State == shards.Failed:
			c.note = "some cannot be read now; see the log or /statusz"
		}
	}
	return c
}

// progress says how far reading has come, in words that anybody may read, and where
// operators find the reason when it fails.
func progress(s shards.State, once bool) string {
	switch {
	case s != shards.Failed:
		return string(s)
	case once:
		return "cannot be read now; what was read before is still served; see the log or /statusz"
	}
	return "cannot be read; see the log or /statusz"
}

// report writes in the format of Kubernetes' health checks.
func report(w http.ResponseWriter, kind string, checks []check, verbose bool) {
	var b strings.Builder
	failed := false
	for _, c := range checks {
		switch note := c.note; {
		case !c.ok:
			failed = true
			if note == "" {
				note = "reason withheld"
			}
			fmt.Fprintf(&b, "[-]%s failed: %s\n", c.name, note)
		case note != "":
			fmt.Fprintf(&b, "[+]%s ok: %s\n", c.name, note)
		default:
			fmt.Fprintf(&b, "[+]%s ok\n", c.name)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache, private")
	if failed {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, "%s%s check failed\n", b.String(), kind) //nolint:gosec // plain text, nosniff
		return
	}
	if verbose {
		_, _ = fmt.Fprintf(w, "%s%s check passed\n", b.String(), kind) //nolint:gosec // plain text, nosniff
		return
	}
	_, _ = fmt.Fprint(w, "ok")
}
