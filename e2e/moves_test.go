package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"frontproxy/e2e/harness"
)

// lists counts the lists that a client has read to their end, and the ERROR events that
// it got.
type lists struct {
	next   http.RoundTripper
	whole  atomic.Int64
	errors atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (l *lists) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK || !strings.HasSuffix(r.URL.Path, "/configmaps") {
		return res, err
	}
	if r.URL.Query().Get("watch") == "" {
		if r.URL.Query().Get("continue") == "" {
			l.whole.Add(1)
		}
		return res, nil
	}
	res.Body = &marked{ReadCloser: res.Body, l: l}
	return res, nil
}

// marked looks for the end of a streamed list and for ERROR events in a watch. Both are
// readable in Protobuf, too.
type marked struct {
	io.ReadCloser
	l    *lists
	tail []byte
}

// Read implements io.Reader.
func (m *marked) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	text := append(m.tail, p[:n]...)
	for mark, count := range map[string]*atomic.Int64{"k8s.io/initial-events-end": &m.l.whole, "ERROR": &m.l.errors} {
		seen := bytes.Count(text, []byte(mark)) - bytes.Count(m.tail, []byte(mark))
		count.Add(int64(seen))
	}
	m.tail = slices.Clone(text[max(0, len(text)-len("k8s.io/initial-events-end")+1):])
	return n, err
}

// follower is an informer of a workspace's ConfigMaps, and its lists.
type follower struct {
	name  string
	lists *lists
	store cache.Store
}

// follow starts one that ends with the test.
func follow(t *testing.T, name string, config *rest.Config) *follower {
	t.Helper()
	f := &follower{name: name, lists: &lists{}}
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { f.lists.next = next; return f.lists }
	kube, err := kubernetes.NewForConfig(config)
	check(t, err)
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	f.store = informer.GetStore()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); factory.Shutdown() })
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer never synced")
	}
	return f
}

// contents are names and versions.
func (f *follower) contents() map[string]string {
	all := map[string]string{}
	for _, o := range f.store.List() {
		cm := o.(*corev1.ConfigMap)
		all[cm.Name] = cm.ResourceVersion
	}
	return all
}

// writer creates, changes and deletes ConfigMaps, one after the other, and tries again
// what fails.
type writer struct {
	written atomic.Int64
}

func (w *writer) run(ctx context.Context, kube kubernetes.Interface) {
	configMaps := kube.CoreV1().ConfigMaps("default")
	try := func(f func() error) {
		for ctx.Err() == nil && f() != nil {
			time.Sleep(20 * time.Millisecond) // not a flood
		}
	}
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("e2e-%d", n)
		try(func() error {
			_, err := configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			if status(err) == http.StatusConflict {
				return nil // an answer was lost
			}
			return err
		})
		try(func() error {
			_, err := configMaps.Patch(ctx, name, "application/merge-patch+json", []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
			return err
		})
		if n >= 5 {
			try(func() error {
				err := configMaps.Delete(ctx, fmt.Sprintf("e2e-%d", n-5), metav1.DeleteOptions{})
				if status(err) == http.StatusNotFound {
					return nil
				}
				return err
			})
		}
		w.written.Add(1)
		time.Sleep(20 * time.Millisecond) // not a flood
	}
}

// TestMovesUnderInformers: client-go's informers, in JSON and in Protobuf, have what the
// new shard has after a workspace was moved under writes, and have listed once more. It
// moves ten workspaces, or as many as FRONT_PROXY_E2E_MOVES says, each once: kcp v0.32.3 serves
// nothing in a workspace that returns to a shard, until that is started again.
func TestMovesUnderInformers(t *testing.T) {
	t.Parallel()
	if !env.Migrates() {
		t.Skip("TestMigration shows that this kcp moves nothing")
	}
	moves := 10
	if s := os.Getenv("FRONT_PROXY_E2E_MOVES"); s != "" {
		var err error
		moves, err = strconv.Atoi(s)
		check(t, err)
	}
	o := newOrg(t, harness.RootShard)
	bindMigrations(t, o)
	both := []string{harness.RootShard, shardOne}
	for n := range moves {
		from, to := both[n%2], both[(n+1)%2]
		if !t.Run(fmt.Sprintf("%d from %s", n+1, from), func(t *testing.T) {
			name := fmt.Sprintf("moving-%d", n)
			moveUnderInformers(t, o, name, org{Workspace: o.Workspace, t: t}.workspace(name, harness.TypeRef{}, from), to)
		}) {
			return
		}
	}
}

func moveUnderInformers(t *testing.T, o org, name string, ws harness.Workspace, to string) {
	t.Helper()
	kube, err := env.Admin().Kube(ws.Path)
	check(t, err)
	formats := map[string]string{"JSON": "application/json", "Protobuf": "application/vnd.kubernetes.protobuf"}
	var followers []*follower
	for _, name := range slices.Sorted(maps.Keys(formats)) {
		for _, cluster := range []string{ws.Path, ws.Cluster} {
			config := env.Admin().Config(cluster)
			config.ContentType, config.AcceptContentTypes = formats[name], formats[name]
			followers = append(followers, follow(t, name+" of "+cluster, config))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var w writer
	var writing sync.WaitGroup
	writing.Go(func() { w.run(ctx, kube) })
	writes := func(what string) {
		want := w.written.Load() + 5
		eventually(t, what, func(context.Context) error {
			if got := w.written.Load(); got < want {
				return fmt.Errorf("%d of %d rounds", got, want)
			}
			return nil
		})
	}
	writes("writes before the move")
	begin := time.Now()
	moveTo(t, o, name, ws, to)
	moved := time.Since(begin)
	writes("writes after the move")
	stop()
	writing.Wait()
	straight, err := env.ShardAdmin(env.Shard(to)).Kube(ws.Cluster)
	check(t, err)
	for _, f := range followers {
		eventually(t, "the informer's contents, "+f.name, func(ctx context.Context) error {
			list, err := straight.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			want := map[string]string{}
			for _, cm := range list.Items {
				want[cm.Name] = cm.ResourceVersion
			}
			if diff := cmp.Diff(want, f.contents()); diff != "" {
				return errors.New("on " + to + " (-want +got):\n" + diff)
			}
			return nil
		})
		if got := f.lists.whole.Load(); got != 2 {
			t.Errorf("%s has listed %d times, want once before and once after the move", f.name, got)
		}
	}
	t.Logf("moved in %v; the contents were equal %v after it began; %d rounds of writes; ERROR events: %s",
		moved.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), w.written.Load(), followerErrors(followers))
}

func followerErrors(all []*follower) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%d ", f.lists.errors.Load())
	}
	return b.String()
}

// bindMigrations lets an org order moves.
func bindMigrations(t *testing.T, o org) {
	t.Helper()
	check(t, env.Admin().Create(t.Context(), o.Path, apiBindings, &object{
		"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": object{"name": "migration"},
		"spec": object{"reference": object{"export": object{"path": "root", "name": "migration.kcp.io"}}},
	}))
}

// moveTo moves a workspace and waits until kcp says that it has moved.
func moveTo(t *testing.T, o org, name string, ws harness.Workspace, shard string) {
	t.Helper()
	eventually(t, "to order the move", func(ctx context.Context) error {
		return env.Admin().Create(ctx, o.Path, migrations, &object{
			"apiVersion": "migration.kcp.io/v1alpha1", "kind": "LogicalClusterMigration", "metadata": object{"name": name},
			"spec": object{"logicalCluster": ws.Cluster, "destinationShard": shard},
		})
	})
	eventually(t, "the move", func(ctx context.Context) error {
		var m struct {
			Status struct {
				Phase      string
				Conditions []metav1.Condition
			}
		}
		err := env.Admin().Get(ctx, o.Path, migrations, name, &m)
		if err == nil && m.Status.Phase != "Completed" {
			err = fmt.Errorf("its phase is %q: %v", m.Status.Phase, m.Status.Conditions)
		}
		return err
	})
}
