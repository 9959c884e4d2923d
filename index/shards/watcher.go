package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Registry receives the list of shards. Its methods are called from one goroutine.
type Registry interface {
	// SetShard reports a shard that root lists. s is nil if its object has never had
	// a usable address. It is called before ResourceWatch.Table for the shard, and
	// again when an address changes.
	SetShard(name string, s *Shard)
	// RemoveShard reports that root no longer lists the shard. All its tables are
	// empty by then.
	RemoveShard(name string)
	// ShardsListed reports that root has answered: the shards set so far are all
	// there are. It is called after every list.
	ShardsListed()
}

// Config configures a Watcher.
type Config struct {
	// Root is the configuration for the shard that holds the root workspace. A path
	// /clusters/root at the end of its Host is removed.
	Root *rest.Config
	// Peers are shards that serve all Shard objects in their Admin workspace, as
	// every shard does from kcp 0.34 on. They are preferred to Root and fail over to
	// each other and, once one of them has been read, to every shard that is listed:
	// the credentials and the CA of the first peer must be valid for all of them. Root
	// is still needed for the identities of APIExports. If Peers is empty, Shard objects
	// are read from Root.
	Peers []*rest.Config
	// Shards has the credentials for every shard; its Host is not used.
	Shards *rest.Config
	// Watches run on every shard.
	Watches []ResourceWatch
	// Registry is required by Run.
	Registry Registry
	// Log: the zero Logger logs nothing.
	Log klog.Logger
	// Clock is for the times in Status; nil means the real clock.
	Clock clock.PassiveClock
	// Metrics are required by Run.
	Metrics Metrics
	// Backoff is the pause after failures of a watch; zero means from 500 ms to 30 s.
	Backoff Backoff
	// ListIdleTimeout is how long a streamed list may send nothing before the watch
	// lists in pages instead; zero means 20 s.
	ListIdleTimeout time.Duration
	// WatchIdleTimeout is how long a watch may send nothing, bookmarks included (kcp
	// sends one a minute), before it is reopened; zero means 90 s. This is how the
	// Watcher notices a server that vanished without closing its connections.
	WatchIdleTimeout time.Duration
	// Timeout is how long a server may take to begin a response; zero means 30 s.
	Timeout time.Duration
}

// Watcher follows the shards and their watches. Use New.
type Watcher struct {
	cfg   Config
	root  *url.URL
	peers []*url.URL // of cfg.Peers
	note  *statusRecorder

	// Set by Run.
	ids *identities

	mu      sync.Mutex // guards what follows
	entries map[string]*shardState
}

// New validates cfg. It does no I/O.
func New(cfg Config) (*Watcher, error) {
	if cfg.Root == nil || cfg.Shards == nil {
		return nil, errors.New("shards: Config needs Root and Shards")
	}
	root, err := serverURL(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("root kubeconfig: %w", err)
	}
	root.Path = strings.TrimSuffix(root.Path, "/clusters/root")
	var peers []*url.URL
	for _, p := range cfg.Peers {
		u, err := serverURL(p)
		if err != nil {
			return nil, fmt.Errorf("peer kubeconfig: %w", err)
		}
		peers = append(peers, u)
	}
	for _, f := range cfg.Watches {
		if f.New == nil || f.Table == nil || f.Resource.Resource == "" {
			return nil, fmt.Errorf("shards: watch %q is incomplete", f.Resource)
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	cfg.Backoff = cmp.Or(cfg.Backoff, Backoff{First: 500 * time.Millisecond, Max: 30 * time.Second})
	cfg.ListIdleTimeout = cmp.Or(cfg.ListIdleTimeout, 20*time.Second)
	cfg.WatchIdleTimeout = cmp.Or(cfg.WatchIdleTimeout, 90*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	return &Watcher{
		cfg:     cfg,
		root:    root,
		peers:   peers,
		note:    newStatusRecorder(cfg.Clock, cfg.Metrics, "", resourceName(shardResource)),
		entries: map[string]*shardState{},
	}, nil
}

// Run follows the shards until ctx ends, and returns when every goroutine that it
// started has ended. It fails only if the files of the root configuration, or of a
// peer's, cannot be used. Call it once.
func (w *Watcher) Run(ctx context.Context) error {
	root, err := newClient(w.cfg.Root, w.root, w.cfg.Timeout)
	if err != nil {
		return fmt.Errorf("root kubeconfig: %w", err)
	}
	defer root.close()
	w.ids = &identities{root: root, sem: make(chan struct{}, 1), hashes: map[string]string{}}
	from, err := w.newEndpoints(root)
	if err != nil {
		return err
	}
	defer from.close()
	t := &rootTable{w: w, ctx: ctx, from: from}
	defer t.stop()
	f := w.follower(from.current.client, w.note, t, func() Object { return &shardObject{} },
		func(context.Context, string) (string, error) { return from.current.path, nil })
	f.from = from
	f.run(ctx)
	return nil
}

// Status returns a snapshot of the current state.
func (w *Watcher) Status() Status {
	s := Status{Root: w.note.get()}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.entries {
		s.Shards = append(s.Shards, e.status())
	}
	slices.SortFunc(s.Shards, func(a, b ShardStatus) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// FailingSince returns since when a shard has not been responding to any of the watches;
// zero: it responds to one, or is not listed, or nothing is known yet.
func (w *Watcher) FailingSince(shard string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.entries[shard]; e != nil {
		s := e.status()
		return failingSince(&s)
	}
	return time.Time{}
}

func (w *Watcher) follower(c *client, n *statusRecorder, t Table, newObj func() Object, path func(context.Context, string) (string, error)) *follower {
	log := w.cfg.Log.WithValues("resource", n.status.Resource)
	if n.shard != "" {
		log = log.WithValues("shard", n.shard)
	}
	return &follower{
		client: c, newObj: newObj, plain: newFastDecoder(reflect.TypeOf(newObj()).Elem()), table: t, path: path, note: n, log: log,
		listIdleTimeout: w.cfg.ListIdleTimeout, watchIdleTimeout: w.cfg.WatchIdleTimeout, backoff: w.cfg.Backoff,
	}
}

// watchPath returns a function for follower.path.
func (w *Watcher) watchPath(f *ResourceWatch) func(context.Context, string) (string, error) {
	prefix := "/clusters/*" + apiPath(f.Resource)
	if f.Identity == "" {
		return func(context.Context, string) (string, error) { return prefix, nil }
	}
	return func(ctx context.Context, stale string) (string, error) {
		hash, err := w.ids.get(ctx, f.Identity, strings.TrimPrefix(stale, prefix+":"))
		return prefix + ":" + hash, err
	}
}

func apiPath(r schema.GroupVersionResource) string {
	return "/apis/" + r.GroupVersion().String() + "/" + r.Resource
}

func resourceName(r schema.GroupVersionResource) string { return r.GroupResource().String() }
