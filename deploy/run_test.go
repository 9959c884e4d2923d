package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// TestImageRunsAsTheManifestsSay lays out the image's file system with what the
// Deployment mounts, writable by nobody, and runs the Deployment's command with
// its arguments before stand-in shards.
func TestImageRunsAsTheManifestsSay(t *testing.T) {
	recipe := func(name string) string {
		content, err := os.ReadFile("kubeconfig/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	byHand := map[string]string{"root": recipe("root"), "shards": recipe("shards")}
	chart, acme, own := objects(t, charted(t, valuesOf("everything"))), objects(t, charted(t, valuesOf("acme"))), objects(t, charted(t, valuesOf("secrets")))
	byChart := map[string]string{}
	for name := range byHand {
		byChart[name] = typed[corev1.Secret](t, chart, "Secret front-proxy-"+name+"-kubeconfig").StringData["kubeconfig"]
	}
	base := objects(t, kustomized(t, "kustomize"))
	for _, tt := range []struct {
		name        string
		manifests   map[string]*unstructured.Unstructured
		instance    string
		kubeconfigs map[string]string
	}{
		{"kustomize", base, "front-proxy", byHand},
		{"chart with cert-manager", chart, "front-proxy", byChart},
		{"chart, second instance", chart, "front-proxy-tenants", byChart},
		{"chart with two serving certificates", acme, "front-proxy", byChart},
		{"chart with Secrets made by hand", own, "front-proxy", byHand},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := standin.New(t.TempDir())
			check(t, err)
			t.Cleanup(k.Close)
			k.Root.PutWorkspace("root", "team", "teamonroot000001", "root", "organization", nil)
			k.Root.PutCluster("teamonroot000001", "root:organization", nil)
			c := newContainer(t)
			pod, files := typed[appsv1.Deployment](t, tt.manifests, "Deployment "+tt.instance).Spec.Template.Spec, config(t, tt.manifests, tt.instance)
			for _, m := range pod.Containers[0].VolumeMounts {
				c.mount(m, pod.Volumes, volume(t, k, m.Name, tt.kubeconfigs, files))
			}
			p := c.start(k, pod.Containers[0])
			if test := "Pod " + tt.instance + "-test-check"; tt.manifests[test] != nil {
				c.run(typed[corev1.Pod](t, tt.manifests, test).Spec.Containers[0])
			}
			c.explain()
			pair, err := k.ClientCA.Client(t.TempDir(), "alice", "devs")
			check(t, err)
			cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
			check(t, err)
			resp, err := p.client(k, cert).Get(p.url + "/clusters/root:team/api")
			check(t, err)
			defer func() { _ = resp.Body.Close() }()
			var me standin.WhoAmI
			check(t, json.NewDecoder(resp.Body).Decode(&me))
			if diff := cmp.Diff([]any{200, "alice", "root", "/clusters/teamonroot000001/api"}, []any{resp.StatusCode, me.User, me.Shard, me.Path}); diff != "" {
				t.Errorf("code, user, shard, path (-want +got):\n%s", diff)
			}
		})
	}
}

// config is what an instance's ConfigMap has.
func config(t *testing.T, all map[string]*unstructured.Unstructured, name string) map[string]string {
	t.Helper()
	for key := range all {
		if strings.HasPrefix(key, "ConfigMap "+name+"-routing") {
			return typed[corev1.ConfigMap](t, all, key).Data
		}
	}
	t.Fatalf("%s has no ConfigMap", name)
	return nil
}

// volume is what is in the volume of that name.
func volume(t *testing.T, k *standin.KCP, name string, kubeconfigs, config map[string]string) map[string][]byte {
	t.Helper()
	here := func(text string) []byte {
		return []byte(strings.ReplaceAll(text, "https://root.kcp.svc.cluster.local:6443", k.Root.URL))
	}
	pair := func(p harness.KeyPair) map[string][]byte {
		return map[string][]byte{"tls.crt": p.Cert, "tls.key": p.Key}
	}
	with := func(files map[string][]byte, kubeconfig string) map[string][]byte {
		files["kubeconfig"] = here(kubeconfig)
		return files
	}
	switch name {
	case "config":
		files := map[string][]byte{}
		for name, text := range config {
			files[name] = here(text)
		}
		return files
	case "root-kubeconfig":
		return with(pair(k.Watching), kubeconfigs["root"])
	case "shards-kubeconfig":
		return with(pair(k.Watching), kubeconfigs["shards"])
	case "root-client", "shards-client":
		return pair(k.Watching)
	case "requestheader-client":
		return pair(k.Forwarding)
	case "tls":
		serving, err := k.ServingCA.Serving(t.TempDir(), "proxy")
		check(t, err)
		return pair(serving)
	case "public-tls":
		public, err := k.RequestHeaderCA.Serving(t.TempDir(), "public")
		check(t, err)
		return pair(public)
	case "run":
		return nil
	case "client-ca":
		return map[string][]byte{"tls.crt": k.ClientCA.PEM}
	case "requestheader-ca":
		return map[string][]byte{"tls.crt": k.RequestHeaderCA.PEM}
	case "mounts":
		files := pair(k.Forwarding)
		files["ca.crt"] = k.ServingCA.PEM
		return files
	case "audit":
		return map[string][]byte{"policy.yaml": []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")}
	case "server-ca":
		return map[string][]byte{"tls.crt": k.ServingCA.PEM}
	}
	t.Fatalf("nothing is known of the volume %s", name)
	return nil
}

// container is the image's file system in a directory that stands for /.
type container struct {
	t   *testing.T
	dir string
}

func newContainer(t *testing.T) *container {
	t.Helper()
	parts, ok := images(t)["linux/"+runtime.GOARCH]
	if !ok || runtime.GOOS != "linux" {
		t.Fatalf("the image has no program for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	parent, err := os.MkdirTemp("", "front-proxy-") // t.TempDir's path is too long for a socket's
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	dir := filepath.Join(parent, "root")
	check(t, os.Mkdir(dir, 0o755))
	extract(t, parts[1], dir)
	return &container{t, dir}
}

// in is text with the paths of mounts where they really are.
func (c *container) in(text string) string {
	text = strings.ReplaceAll(text, "/etc/front-proxy/", c.dir+"/etc/front-proxy/")
	return strings.ReplaceAll(text, "/run/front-proxy/", c.dir+"/run/front-proxy/")
}

// mount lays out a volume's files, of a Secret with items only those; one that is
// not read-only may be written by everybody, as an emptyDir.
func (c *container) mount(m corev1.VolumeMount, volumes []corev1.Volume, files map[string][]byte) {
	c.t.Helper()
	dir := filepath.Join(c.dir, m.MountPath)
	check(c.t, os.MkdirAll(dir, 0o755))
	if !m.ReadOnly {
		check(c.t, os.Chmod(dir, 0o777)) //nolint:gosec // as the kubelet's
	}
	for _, v := range volumes {
		if v.Name == m.Name && v.Secret != nil && v.Secret.Items != nil {
			chosen := map[string][]byte{}
			for _, item := range v.Secret.Items {
				chosen[item.Path] = files[item.Key]
			}
			files = chosen
		}
	}
	for name, content := range files {
		check(c.t, os.WriteFile(filepath.Join(dir, name), []byte(c.in(string(content))), 0o444)) //nolint:gosec // as the kubelet's, for the group
	}
}

type proxy struct{ url string }

func (p *proxy) client(k *standin.KCP, certs ...tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.ServingCA.PEM)
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}}
}

// start runs the container's command as the pod's user, if the test may choose
// one, with its arguments; only the address, and how long it stays after
// SIGTERM, are the test's. It must become ready, and end without an error.
func (c *container) start(k *standin.KCP, spec corev1.Container) *proxy {
	t := c.t
	t.Helper()
	port, err := harness.FreePort()
	check(t, err)
	var args []string
	for _, a := range spec.Args {
		args = append(args, c.in(a))
	}
	args = append(args, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--shutdown-delay-duration=0s")
	if _, err := attempt(nil, filepath.Join(c.dir, spec.Command[0]), append([]string{"check"}, args...)...); err != nil {
		t.Errorf("front-proxy check finds fault with the manifests: %v", err)
	}
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(c.dir, spec.Command[0]), args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = &output, &output, c.dir, []string{}
	if os.Getuid() == 0 {
		check(t, os.Chmod(filepath.Dir(c.dir), 0o711)) //nolint:gosec // for the pod's user to get in
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	check(t, cmd.Start())
	ended := make(chan struct{})
	go func() { err = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(20*time.Second, kill)
		<-ended
		if err != nil {
			t.Errorf("it ended with: %v\n%s", err, output.String())
		}
		kill()
	})
	p := &proxy{fmt.Sprintf("https://127.0.0.1:%d", port)}
	probe := p.client(k)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := probe.Get(p.url + spec.ReadinessProbe.HTTPGet.Path)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case <-ended:
			t.Fatal("it ended at once")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 30 s: %v", err)
		}
	}
}

// run runs a container of helm test, which must succeed, and fail where a file is
// missing.
func (c *container) run(spec corev1.Container) {
	c.t.Helper()
	args := slices.Clone(spec.Command[1:])
	for _, a := range spec.Args {
		args = append(args, c.in(a))
	}
	program := filepath.Join(c.dir, spec.Command[0])
	if _, err := attempt(nil, program, args...); err != nil {
		c.t.Errorf("helm test finds fault: %v", err)
	}
	if _, err := attempt(nil, program, append(args, "--token-auth-file="+filepath.Join(c.dir, "none"))...); err == nil {
		c.t.Error("helm test passes without a file")
	}
}

// explain asks at the debug socket, as docs/troubleshooting.md says.
func (c *container) explain() {
	c.t.Helper()
	page, err := os.ReadFile("../docs/troubleshooting.md")
	check(c.t, err)
	_, rest, found := strings.Cut(string(page), " exec deploy/front-proxy -- ")
	line, _, _ := strings.Cut(rest, "\n")
	words := strings.Fields(line)
	if !found || len(words) < 2 || !slices.Contains(words, "--debug-address=unix:///run/front-proxy/debug.sock") {
		c.t.Fatalf("docs/troubleshooting.md has no line for kubectl exec: %q", line)
	}
	for n, word := range words {
		words[n] = c.in(word)
	}
	out, err := attempt(nil, filepath.Join(c.dir, words[0]), words[1:]...)
	if err != nil || !bytes.Contains(out, []byte("logical cluster")) {
		c.t.Errorf("what docs/troubleshooting.md says about kubectl exec: %v\n%s", err, out)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
