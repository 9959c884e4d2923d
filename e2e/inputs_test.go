package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"

	"frontproxy/e2e/harness"
)

// TestInputsChange: what a proxy in front of real shards is configured with is
// rotated, broken and mended, in a directory that is swapped as the kubelet
// does, while users with certificates and tokens work at both shards. Nothing is
// lost, and watches stay open.
func TestInputsChange(t *testing.T) {
	t.Parallel()
	o := newOrg(t, harness.RootShard)
	issuer := newIssuer(t)
	o.configure("issuer", trust(issuer))
	kind := o.kind("team", "issuer")
	near, far := o.workspace("near", kind, harness.RootShard), o.workspace("far", kind, shardOne)

	dir := filepath.Join(t.TempDir(), "volume")
	read := func(path ...string) []byte {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(append([]string{env.Dir}, path...)...))
		check(t, err)
		return content
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	pair := func(make func(string, string, ...string) (harness.KeyPair, error), name string, groups ...string) harness.KeyPair {
		t.Helper()
		p, err := make(t.TempDir(), name, groups...)
		check(t, err)
		return p
	}
	serving, err := env.ServingCA.Serving(t.TempDir(), "proxy")
	check(t, err)
	forwarding := pair(env.RequestHeaderCA.Client, "front-proxy")
	var mapping strings.Builder
	for _, path := range []string{"/clusters/", "/services/"} {
		fmt.Fprintf(&mapping, "- path: %s\n  backend: %s\n  backend_server_ca: %s\n  proxy_client_cert: %s\n  proxy_client_key: %s\n",
			path, env.Shard(harness.RootShard).URL, file("shards-ca.crt"), file("forward.crt"), file("forward.key"))
	}
	files := map[string][]byte{
		"mapping.yaml": []byte(mapping.String()), "root.kubeconfig": read("root.kubeconfig"), "shards.kubeconfig": read("shards.kubeconfig"),
		"shards-ca.crt": env.ServingCA.PEM, "forward.crt": forwarding.Cert, "forward.key": forwarding.Key,
		"tls.crt": serving.Cert, "tls.key": serving.Key, "clients.crt": env.ClientCA.PEM,
	}
	mount := func() { t.Helper(); check(t, harness.Mount(dir, files)) }
	mount()
	p := startProxy(t, "--mapping-file="+file("mapping.yaml"), "--root-kubeconfig="+file("root.kubeconfig"), "--shards-kubeconfig="+file("shards.kubeconfig"),
		"--tls-cert-file="+file("tls.crt"), "--tls-private-key-file="+file("tls.key"), "--client-ca-file="+file("clients.crt"))
	logged := func(text, flag string, times int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the log to say of %s: %s", flag, text), func(context.Context) error {
			content, err := os.ReadFile(p.Log())
			n := 0
			for line := range bytes.Lines(content) {
				if bytes.Contains(line, []byte(text)) && bytes.Contains(line, []byte(flag)) {
					n++
				}
			}
			if err == nil && n < times {
				return fmt.Errorf("it says so %d times, want %d", n, times)
			}
			return err
		})
	}
	const kept, reloaded = "A changed file cannot be used", `"Reloaded"`

	admin, ada := p.Admin(), p.Token(token(issuer, "ada@example.com"))
	var loads []*neighbour
	var watches []watch.Interface
	for _, user := range []*harness.Client{admin, ada} {
		for _, ws := range []harness.Workspace{near, far} {
			eventuallyIn(t, user, ws.Path)
			loads = append(loads, newNeighbour(t, user, "/clusters/"+ws.Path+"/api/v1/namespaces/default/configmaps"))
			kube, err := user.Kube(ws.Path)
			check(t, err)
			w, err := kube.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
			check(t, err)
			t.Cleanup(w.Stop)
			watches = append(watches, w)
		}
	}
	passed := func(n int64) {
		t.Helper()
		for _, l := range loads {
			want := l.asked.Load() + n
			eventually(t, "requests to pass", func(context.Context) error {
				if l.asked.Load() < want {
					return errors.New("too few")
				}
				return nil
			})
		}
	}

	for _, change := range []struct {
		name  string
		wreak func(t *testing.T)
	}{
		{"the mapping file breaks and is mended", func(*testing.T) {
			files["mapping.yaml"] = []byte("- path: /clusters/\n")
			mount()
			logged(kept, "", 1) // an error of several lines has the flag on its last
			passed(20)
			files["mapping.yaml"] = []byte(mapping.String() + "# mended\n")
			mount()
			logged(reloaded, `flag="mapping-file"`, 1)
		}},
		{"the pair shown to shards", func(*testing.T) {
			next := pair(env.RequestHeaderCA.Client, "front-proxy")
			files["forward.crt"], files["forward.key"] = next.Cert, next.Key
			mount()
			logged(reloaded, `flag="mapping-file /`, 1)
		}},
		{"the CA of shards, with another beside it", func(t *testing.T) {
			other, err := harness.NewCA(t.TempDir(), "other")
			check(t, err)
			files["shards-ca.crt"] = append(bytes.Clone(env.ServingCA.PEM), other.PEM...)
			mount()
			logged(reloaded, `flag="mapping-file /`, 2)
		}},
		{"the serving certificate", func(t *testing.T) {
			next, err := env.ServingCA.Serving(t.TempDir(), "proxy-next")
			check(t, err)
			files["tls.crt"], files["tls.key"] = next.Cert, next.Key
			mount()
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(env.ServingCA.PEM)
			block, _ := pem.Decode(next.Cert)
			eventually(t, "the new certificate", func(context.Context) error {
				conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: roots})
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				if !bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, block.Bytes) {
					return errors.New("another is served")
				}
				return nil
			})
		}},
		{"the CAs of clients, with another beside them", func(t *testing.T) {
			other, err := harness.NewCA(t.TempDir(), "other")
			check(t, err)
			emil := pair(other.Client, "emil", "system:kcp:admin")
			files["clients.crt"] = append(bytes.Clone(env.ClientCA.PEM), other.PEM...)
			mount()
			eventually(t, "a user of the new CA", func(ctx context.Context) error {
				_, err := p.Certificate(emil, nil).WhoAmI(ctx, far.Path) // over a connection of its own
				return err
			})
		}},
		{"the kubeconfigs, first to rubbish", func(*testing.T) {
			next := pair(env.ClientCA.Client, "shard-admin-next", "system:masters")
			for n, name := range []string{"root.kubeconfig", "shards.kubeconfig"} {
				good := files[name]
				files[name] = []byte("rubbish")
				mount()
				logged(kept, "", n+2)
				passed(20)
				files[name] = withUser(t, good, next)
				mount()
				logged(reloaded, strings.TrimSuffix(name, ".kubeconfig")+"-kubeconfig", 1)
			}
		}},
		{"the configuration, unchanged, broken beside, and with one issuer more", func(t *testing.T) {
			for n := range 5 {
				check(t, env.Admin().Patch(t.Context(), o.Path, harness.AuthConfigurations, "issuer", fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, n)))
			}
			second := newIssuer(t)
			var c tenancyv1alpha1.WorkspaceAuthenticationConfiguration
			check(t, env.Admin().Get(t.Context(), o.Path, harness.AuthConfigurations, "issuer", &c))
			c.Spec.JWT = append(c.Spec.JWT, trust(second))
			check(t, env.Admin().Update(t.Context(), o.Path, harness.AuthConfigurations, "issuer", &c))
			eventuallyIn(t, p.Token(token(second, "bob@example.com")), far.Path)
			check(t, env.Admin().Patch(t.Context(), o.Path, harness.WorkspaceTypes, "team", `{"spec":{"authenticationConfigurations":[{"name":"issuer"},{"name":"missing"}]}}`))
			passed(50)
			check(t, env.Admin().Patch(t.Context(), o.Path, harness.WorkspaceTypes, "team", `{"spec":{"authenticationConfigurations":[{"name":"issuer"}]}}`))
		}},
		{"the issuer is down, then rotates its keys", func(t *testing.T) {
			issuer.SetDown(true)
			passed(50)
			eventuallyIn(t, p.Token(token(issuer, "new@example.com")), far.Path)
			issuer.SetDown(false)
			issuer.RotateKeeping()
			eventuallyIn(t, p.Token(token(issuer, "newer@example.com")), far.Path)
		}},
	} {
		t.Run(change.name, func(t *testing.T) {
			var before, asked int64
			for _, l := range loads {
				before += l.asked.Load()
			}
			change.wreak(t)
			passed(20)
			for _, l := range loads {
				asked += l.asked.Load()
				if n := l.lost.Swap(0); n > 0 {
					t.Errorf("%d requests lost: %v", n, l.first.Load())
				}
			}
			for n, w := range watches {
				select {
				case e, open := <-w.ResultChan():
					if !open {
						t.Errorf("watch %d has ended: %v", n, e)
					}
				default:
				}
			}
			t.Logf("%d requests, none lost", asked-before)
		})
	}
	for _, l := range loads {
		l.end()
	}
	var total time.Duration
	for _, l := range loads {
		total = max(total, time.Duration(l.slowest.Load()))
	}
	t.Logf("the slowest request took %v", total)
}

// withUser is a kubeconfig with another client certificate.
func withUser(t *testing.T, kubeconfig []byte, user harness.KeyPair) []byte {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	check(t, err)
	for _, u := range config.AuthInfos {
		u.ClientCertificateData, u.ClientKeyData, u.ClientCertificate, u.ClientKey = user.Cert, user.Key, "", ""
	}
	content, err := clientcmd.Write(*config)
	check(t, err)
	return content
}
