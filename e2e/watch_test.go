package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"frontproxy/e2e/harness"
)

func createConfigMap(t *testing.T, kube kubernetes.Interface, name string) {
	t.Helper()
	_, err := kube.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	check(t, err)
}

// awaitFrame reads WebSocket frames until one is about name.
func awaitFrame(t *testing.T, conn *websocket.Conn, name string) {
	t.Helper()
	check(t, conn.SetReadDeadline(time.Now().Add(settled)))
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("no frame about %s: %v (logs: %s)", name, err, env.Logs())
		}
		if plain, err := base64.StdEncoding.DecodeString(string(frame)); err == nil {
			frame = plain // the base64 subprotocol
		}
		if bytes.Contains(frame, []byte(`"`+name+`"`)) {
			return
		}
	}
}

// A watch runs through the proxy for as long as the client wants and shows
// every event, in order, on both shards.
func TestWatchSeesEveryEvent(t *testing.T) {
	t.Parallel()
	length := 30 * time.Second
	if s := os.Getenv("FRONT_PROXY_E2E_WATCH"); s != "" {
		var err error
		length, err = time.ParseDuration(s)
		check(t, err)
	}
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	for _, shard := range []string{harness.RootShard, shardOne} {
		t.Run(shard, func(t *testing.T) {
			t.Parallel()
			o := org{Workspace: o.Workspace, t: t}
			ws := o.workspace("on-"+shard, kind, shard)
			ada := env.Token(token(issuer, "ada@example.com")) // good for an hour
			watchFor(t, empower(t, ada, ws, harness.User("oidc:ada@example.com")), length)
		})
	}
}

// watchFor changes ConfigMaps for a while and compares what a watch shows.
func watchFor(t *testing.T, kube kubernetes.Interface, length time.Duration) {
	t.Helper()
	configMaps := kube.CoreV1().ConfigMaps("default")
	list, err := configMaps.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	w, err := configMaps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "e2e=watch"})
	check(t, err)
	defer w.Stop()

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var want []string
	ticker := time.NewTicker(500 * time.Millisecond) // events come now and then, as in life
	defer ticker.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("e2e-%d", i)
		cm, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"e2e": "watch"}}}, metav1.CreateOptions{})
		check(t, err)
		cm.Data = map[string]string{"a": "b"}
		_, err = configMaps.Update(t.Context(), cm, metav1.UpdateOptions{})
		check(t, err)
		check(t, configMaps.Delete(t.Context(), name, metav1.DeleteOptions{}))
		want = append(want, string(watch.Added)+" "+name, string(watch.Modified)+" "+name, string(watch.Deleted)+" "+name)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	if diff := cmp.Diff(want, collect(t, w, len(want))); diff != "" {
		t.Errorf("events seen (-want +got):\n%s(logs: %s)", diff, env.Logs())
	}
}

// collect reads n events, or those that came before the watch ended.
func collect(t *testing.T, w watch.Interface, n int) []string {
	t.Helper()
	var got []string
	deadline := time.NewTimer(settled)
	defer deadline.Stop()
	for len(got) < n {
		select {
		case event, ok := <-w.ResultChan():
			if !ok {
				t.Errorf("the watch ended after %d events of %d", len(got), n)
				return got
			}
			name := "?"
			if cm, isConfigMap := event.Object.(*corev1.ConfigMap); isConfigMap {
				name = cm.Name
			}
			got = append(got, string(event.Type)+" "+name)
		case <-deadline.C:
			t.Errorf("%d events of %d came", len(got), n)
			return got
		}
	}
	return got
}
