package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// worldTask is a world's size. Report is the file that gets its world.
type worldTask struct {
	Dir, Report                string
	Workspaces, Configurations int
	// Hostile: with what attacks need.
	Hostile bool
}

// world is a stand-in kcp as its users know it.
type world struct {
	URL string
	// What proxies are started with.
	ServingCA, ClientCA, Kubeconfig, Mapping string
	Serving, Forwarding, Client              pair
	// Token is alice's; Keyed is the head of a token of its issuer, whose
	// signature anybody may invent.
	Token, Keyed, Issuer string
	// IssuerKey is the file with the issuer's public key.
	IssuerKey  string
	Workspaces int
	// Of a hostile world: the host that never answers, and the file that trusts it
	// as a mounted one.
	Silent, MountHosts string
}

type pair struct{ Cert, Key string }

const (
	typeName = "team"
	audience = "bench"
)

// path is a request's, in workspace n.
func (w *world) path(n int) string {
	return "/clusters/root:ws-" + strconv.Itoa(n%w.Workspaces) + "/apis/example.io/v1/namespaces/default/widgets/"
}

// runWorld serves until ctx ends.
func runWorld(ctx context.Context, t worldTask) error {
	k, err := standin.New(t.Dir) //nolint:contextcheck // it ends with Close
	if err != nil {
		return err
	}
	defer k.Close()
	issuer, err := issuertest.New(issuertest.Options{})
	if err != nil {
		return err
	}
	defer issuer.Close()
	k.Root.SetForwarded(&backend{shard: k.Root, object: bytes.Repeat([]byte("0123456789abcdef"), 64)})
	fill(k.Root, issuer, t)
	w, err := describe(k, issuer, t)
	if err != nil {
		return err
	}
	if t.Hostile {
		if err := w.addHostile(ctx, k, t.Dir); err != nil {
			return err
		}
	}
	if err := writeReport(t.Report, w); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// fill puts the objects in: workspaces of one type that names one
// configuration, and further types with a configuration each, all of one issuer.
func fill(s *standin.Shard, issuer *issuertest.Issuer, t worldTask) {
	jwt := standin.Object{
		"issuer": standin.Object{"url": issuer.URL(), "audiences": []string{audience}, "certificateAuthority": issuer.CAPEM()},
		"claimMappings": standin.Object{
			"username": standin.Object{"claim": "sub", "prefix": ""},
			"groups":   standin.Object{"claim": "groups", "prefix": ""}},
	}
	in := map[string]string{"kcp.io/path": "root"}
	putType := func(name string) {
		s.PutConfiguration("root", name, jwt)
		s.Put("workspacetypes", "root", name, in, standin.Object{"spec": standin.Object{"authenticationConfigurations": []standin.Object{{"name": name}}}})
	}
	putType(typeName)
	for i := range t.Configurations {
		putType(typeName + "-" + strconv.Itoa(i))
	}
	for i := range t.Workspaces {
		putWorkspace(s, i, typeName, 0)
	}
}

// putWorkspace puts workspace n, of a type in root, and its logical cluster, with about what kcp
// v0.31 writes into them. A change makes it differ from before.
func putWorkspace(s *standin.Shard, n int, kind string, change int) {
	name, cluster := "ws-"+strconv.Itoa(n), clusterOf(n)
	created := "2026-03-01T09:30:00Z"
	meta := func(kind string) standin.Object {
		return standin.Object{
			"uid": fmt.Sprintf("7d3c1d0e-77a1-4e55-9b55-%012d", n), "creationTimestamp": created, "generation": 3 + change,
			"labels":     map[string]string{"tenancy.kcp.io/phase": "Ready", "example.io/team": "team-" + strconv.Itoa(n%100)},
			"finalizers": []string{"core.kcp.io/logicalcluster"},
			"managedFields": []standin.Object{
				{"manager": "kcp", "operation": "Update", "apiVersion": "v1alpha1", "time": created, "fieldsType": "FieldsV1", "fieldsV1": managed(kind)},
				{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1alpha1", "time": created, "fieldsType": "FieldsV1", "fieldsV1": managed("spec")}},
		}
	}
	var conditions []standin.Object
	for _, c := range []string{"WorkspaceScheduled", "WorkspaceAPIBindingsInitialized", "WorkspaceAPIBindingsReconciled", "WorkspaceInitialized", "WorkspaceContentReady"} {
		conditions = append(conditions, standin.Object{"type": c, "status": "True", "lastTransitionTime": created})
	}
	owner := `{"username":"alice@example.com","groups":["system:authenticated"],"uid":"9a2f"}`
	s.Put("workspaces", "root", name, map[string]string{
		"internal.tenancy.kcp.io/cluster": cluster, "internal.tenancy.kcp.io/shard": "1gl2ud0k", "experimental.tenancy.kcp.io/owner": owner,
	}, standin.Object{
		"metadata": meta("status"),
		"spec":     standin.Object{"cluster": cluster, "URL": s.URL + "/clusters/" + cluster, "type": standin.Object{"path": "root", "name": kind}},
		"status":   standin.Object{"phase": "Ready", "conditions": conditions},
	})
	s.Put("logicalclusters", cluster, "cluster", map[string]string{
		"kcp.io/path": "root:" + name, "internal.tenancy.kcp.io/type": "root:" + kind, "experimental.tenancy.kcp.io/owner": owner,
	}, standin.Object{
		"metadata": meta("status"),
		"spec":     standin.Object{"directlyDeletable": true, "owner": standin.Object{"apiVersion": "tenancy.kcp.io/v1alpha1", "resource": "workspaces", "name": name, "cluster": "root", "uid": fmt.Sprintf("7d3c1d0e-77a1-4e55-9b55-%012d", n)}},
		"status":   standin.Object{"phase": "Ready", "URL": s.URL + "/clusters/" + cluster, "conditions": conditions},
	})
}

func clusterOf(n int) string { return fmt.Sprintf("c%015d", n) }

func managed(part string) standin.Object {
	fields := standin.Object{}
	for _, f := range []string{"f:conditions", "f:phase", "f:cluster", "f:URL", "f:type", "f:annotations", "f:finalizers"} {
		fields[f] = standin.Object{".": standin.Object{}, "f:value": standin.Object{}}
	}
	return standin.Object{"f:" + part: fields}
}

// describe writes the files that proxies and clients need.
func describe(k *standin.KCP, issuer *issuertest.Issuer, t worldTask) (*world, error) {
	w := &world{URL: k.Root.URL, ServingCA: k.ServingCA.File, ClientCA: k.ClientCA.File, Workspaces: t.Workspaces, Issuer: issuer.URL(),
		Forwarding: pair{k.Forwarding.CertFile, k.Forwarding.KeyFile}, Mapping: filepath.Join(t.Dir, "mapping.yaml")}
	var err error
	if w.Kubeconfig, err = k.Kubeconfig(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(w.Mapping, []byte(k.MappingEntry("/clusters/")), 0o600); err != nil {
		return nil, err
	}
	serving, err := k.ServingCA.Serving(t.Dir, "proxy")
	if err != nil {
		return nil, err
	}
	client, err := k.ClientCA.Client(t.Dir, "alice", "developers")
	if err != nil {
		return nil, err
	}
	w.Serving, w.Client = files(serving), files(client)
	w.IssuerKey = filepath.Join(t.Dir, "issuer.pem")
	if err := writeIssuerKey(issuer, w.IssuerKey); err != nil {
		return nil, err
	}
	w.Token = issuer.Sign(issuertest.Claims{"sub": "alice", "aud": []string{audience}, "groups": []string{"developers", "reviewers"}})
	w.Keyed, _, _ = strings.Cut(w.Token, ".")
	return w, nil
}

func files(p harness.KeyPair) pair { return pair{p.CertFile, p.KeyFile} }

// backend answers what was forwarded.
type backend struct {
	shard  *standin.Shard
	object []byte
}

// ServeHTTP implements http.Handler: a watch gets one event and then waits,
// one with eventsQuery gets many and ends; a
// path that ends in "MiB" names the size of its answer, an upload is read to
// its end, and anything else gets the object.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.RawQuery == eventsQuery:
		b.stream(w)
	case strings.HasSuffix(r.URL.RawQuery, "watch=true"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{\"type\":\"BOOKMARK\",\"object\":{}}\n"))
		_ = http.NewResponseController(w).Flush() // a client that is gone needs none
		<-r.Context().Done()
	case r.URL.Path == eventsPath:
		b.events(r)
	case strings.HasSuffix(r.URL.Path, "MiB"):
		b.large(w, r)
	default:
		if r.Body != http.NoBody {
			_, _ = copyAll(r.Body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b.object)
	}
}

// stream answers with eventsPerWatch events, each sent by itself.
func (b *backend) stream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w)
	for range eventsPerWatch {
		if _, err := w.Write(b.object); err != nil || flush.Flush() != nil {
			return
		}
	}
}

// large answers with as many MiB as the path's last segment says.
func (b *backend) large(w http.ResponseWriter, r *http.Request) {
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	n, err := strconv.Atoi(strings.TrimSuffix(last, "MiB"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n<<20))
	chunk := make([]byte, 64<<10)
	for range n << 4 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// eventsQuery is a watch's that gets eventsPerWatch events. It ends in the ordinary way, within
// the second that it asks for: the proxy would hold back an earlier end for a second, to see
// whether the logical cluster is being moved.
const eventsQuery = "labelSelector=many&timeoutSeconds=1&watch=true"

// eventsPath makes the world change; it is asked there itself, not through a
// proxy.
const eventsPath = "/bench/events"

// events changes 50 workspaces a second until the caller goes.
func (b *backend) events(r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			putWorkspace(b.shard, i%1000, typeName, i)
		}
	}
}
