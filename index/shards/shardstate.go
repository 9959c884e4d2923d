package shards

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

var shardResource = schema.GroupVersionResource{Group: "core.kcp.io", Version: "v1alpha1", Resource: "shards"}

// shardObject has the fields of a Shard object that the Watcher reads.
type shardObject struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		BaseURL             string `json:"baseURL"`
		ExternalURL         string `json:"externalURL"`
		VirtualWorkspaceURL string `json:"virtualWorkspaceURL"`
	} `json:"spec"`
}

// Version is metadata.resourceVersion.
func (o *shardObject) Version() string { return o.Metadata.ResourceVersion }

// shard returns the record to publish. The base URL must be usable; an unusable other
// URL counts as missing.
func (o *shardObject) shard() (*Shard, error) {
	base, err := parseURL(o.Spec.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("spec.baseURL of Shard %q: %w", o.Metadata.Name, err)
	}
	s := &Shard{Name: o.Metadata.Name, BaseURL: base}
	if u, err := parseURL(o.Spec.ExternalURL); err == nil {
		s.ExternalURL = u
	}
	if u, err := parseURL(o.Spec.VirtualWorkspaceURL); err == nil {
		s.VirtualWorkspaceURL = u
	}
	return s, nil
}

// parseURL accepts an https URL with a host and optionally a path, whose trailing
// slashes it removes.
func parseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, fmt.Errorf("it is empty")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL", s)
	case u.Scheme != "https":
		return nil, fmt.Errorf("%q does not begin with https://", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%q has more than host and path", s)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

func sameShard(a, b *Shard) bool {
	return sameURL(a.BaseURL, b.BaseURL) && sameURL(a.ExternalURL, b.ExternalURL) &&
		sameURL(a.VirtualWorkspaceURL, b.VirtualWorkspaceURL)
}

func sameURL(a, b *url.URL) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
}

// shardState is a listed shard and the followers of its watches.
type shardState struct {
	name       string
	generation uint64  // of the last list that contained it
	shard      *Shard  // nil: never had a usable address
	tables     []Table // one per watch, from the first start on

	cancel context.CancelFunc
	wg     sync.WaitGroup

	// Guarded by Watcher.mu.
	notes  []*statusRecorder
	reason string
	since  time.Time // of reason
}

func (e *shardState) status() ShardStatus {
	s := ShardStatus{Name: e.name, Reason: e.reason}
	for _, n := range e.notes {
		s.Watches = append(s.Watches, n.get())
	}
	summarize(&s, e.since)
	return s
}

// stop ends the followers and waits for them.
func (e *shardState) stop() {
	if e.cancel != nil {
		e.cancel()
	}
	e.wg.Wait()
	e.cancel = nil
}

// rootTable is the table of Shard objects: it starts and stops the followers of
// shards. Only the follower of root calls it.
type rootTable struct {
	w          *Watcher
	ctx        context.Context //nolint:containedctx // ends the followers; lives as long as Run
	from       *endpoints      // is told which shards are listed
	generation uint64
}

func (t *rootTable) Begin() { t.generation++ }

func (t *rootTable) Upsert(o Object) {
	obj, ok := o.(*shardObject)
	if !ok || obj.Metadata.Name == "" {
		return
	}
	e := t.entry(obj.Metadata.Name)
	e.generation = t.generation
	next, err := obj.shard()
	t.setReason(e, err)
	if err != nil {
		t.w.cfg.Log.Error(err, "Shard has no usable address; correct its Shard object in root")
		if e.shard == nil {
			t.w.cfg.Registry.SetShard(e.name, nil)
		}
		return
	}
	if e.shard != nil && sameShard(e.shard, next) {
		return
	}
	t.from.shardListed(e.name, next.BaseURL)
	moved := e.shard == nil || !sameURL(e.shard.BaseURL, next.BaseURL)
	e.shard = next
	t.w.cfg.Registry.SetShard(e.name, next)
	if moved {
		e.stop()
		t.start(e)
	}
}

func (t *rootTable) Delete(o Object) {
	if obj, ok := o.(*shardObject); ok {
		t.remove(obj.Metadata.Name)
	}
}

func (t *rootTable) End(string) {
	for name, e := range t.w.entries { // only this goroutine changes the map
		if e.generation != t.generation {
			t.remove(name)
		}
	}
	t.w.cfg.Registry.ShardsListed()
}

// stop ends all followers; the tables keep their contents.
func (t *rootTable) stop() {
	for _, e := range t.w.entries {
		e.stop()
	}
}

func (t *rootTable) entry(name string) *shardState {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	e := t.w.entries[name]
	if e == nil {
		e = &shardState{name: name}
		t.w.entries[name] = e
	}
	return e
}

func (t *rootTable) setReason(e *shardState, err error) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	switch {
	case err == nil:
		e.reason = ""
	case e.reason == "":
		e.since = t.w.cfg.Clock.Now()
		fallthrough
	default:
		e.reason = err.Error()
	}
}

// start runs every watch at the shard's address.
func (t *rootTable) start(e *shardState) {
	w := t.w
	if e.tables == nil {
		notes := make([]*statusRecorder, len(w.cfg.Watches))
		for i, f := range w.cfg.Watches {
			e.tables = append(e.tables, f.Table(e.name))
			notes[i] = newStatusRecorder(w.cfg.Clock, w.cfg.Metrics, e.name, resourceName(f.Resource))
		}
		w.mu.Lock()
		e.notes = notes
		w.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(t.ctx)
	e.cancel = cancel
	for i := range w.cfg.Watches {
		n, table, base := e.notes[i], e.tables[i], e.shard.BaseURL
		e.wg.Go(func() { w.runWatch(ctx, &w.cfg.Watches[i], base, n, table) })
	}
}

// runWatch follows one watch on one shard until ctx ends. It tries the files in the
// shards' configuration again until they can be used.
func (w *Watcher) runWatch(ctx context.Context, f *ResourceWatch, base *url.URL, n *statusRecorder, table Table) {
	for failures := 0; ; failures++ {
		c, err := newClient(w.cfg.Shards, base, w.cfg.Timeout)
		if err == nil {
			defer c.close()
			w.follower(c, n, table, f.New, w.watchPath(f)).run(ctx)
			return
		}
		n.failed(fmt.Errorf("shards kubeconfig: %w", err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.cfg.Backoff.delay(failures)):
		}
	}
}

// remove removes a shard: first its followers, then its contents, then the shard
// itself.
func (t *rootTable) remove(name string) {
	e := t.w.entries[name]
	if e == nil {
		return
	}
	t.from.shardRemoved(name)
	e.stop()
	for _, table := range e.tables {
		table.Begin()
		table.End("")
	}
	t.w.mu.Lock()
	delete(t.w.entries, name)
	t.w.mu.Unlock()
	t.w.cfg.Registry.RemoveShard(name)
	t.w.cfg.Metrics.Forget(name)
}
