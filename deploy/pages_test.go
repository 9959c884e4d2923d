package deploy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"frontproxy/e2e/harness"
)

// yamlBlocks are the blocks of YAML in a page of docs/, without the indentation that they have in a list.
func yamlBlocks(t *testing.T, page string) (blocks []string) {
	t.Helper()
	content, err := os.ReadFile("../docs/" + page)
	check(t, err)
	var block strings.Builder
	indent, inside := "", false
	for line := range strings.Lines(string(content)) {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "```yaml":
			inside = true
			indent, _, _ = strings.Cut(line, "`")
		case inside && trimmed == "```":
			blocks = append(blocks, block.String())
			block.Reset()
			inside = false
		case inside:
			block.WriteString(strings.TrimPrefix(line, indent))
		}
	}
	return blocks
}

// TestPagesRender: values in docs/ are what the chart takes, manifests there what their types take,
// and kustomizations what kustomize takes.
func TestPagesRender(t *testing.T) {
	for page, want := range map[string]map[string]int{
		"install.md": {"values": 3, "manifest": 2, "kcp-operator": 2, "kustomization": 2},
		"regions.md": {"values": 1},
	} {
		got := map[string]int{}
		for _, block := range yamlBlocks(t, page) {
			kind, err := renderBlock(t, block)
			got[kind]++
			if err != nil {
				t.Errorf("%s: %v in\n%s", page, err, block)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s has these blocks (-want +got):\n%s", page, diff)
		}
	}
}

// renderBlock decodes or renders one block of a page, and says what it is.
func renderBlock(t *testing.T, block string) (kind string, err error) {
	t.Helper()
	switch {
	case strings.HasPrefix(block, "auth:"):
		var spec struct {
			Auth frontProxyAuth `json:"auth"`
		}
		return "kcp-operator", yaml.UnmarshalStrict([]byte(block), &spec)
	case strings.HasPrefix(block, "apiVersion: operator.kcp.io/"):
		return "kcp-operator", yaml.UnmarshalStrict([]byte(block), &kubeconfig{})
	case strings.HasPrefix(block, "apiVersion: "):
		_, err = attempt([]byte(block), tool(t, "strict"))
		return "manifest", err
	case strings.Contains(block, "configMapGenerator:"):
		return "kustomization", nil // TestKustomizationOfThePage, TestKustomizePatch
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	check(t, os.WriteFile(values, []byte(block), 0o600))
	_, err = attempt(charted(t, "--values="+values), tool(t, "strict"))
	return "values", err
}

// kustomizations are those of docs/install.md: the whole one and the one with a flag's files.
func kustomizations(t *testing.T) (whole, files string) {
	t.Helper()
	blocks := slices.DeleteFunc(yamlBlocks(t, "install.md"), func(b string) bool { return !strings.Contains(b, "configMapGenerator:") })
	if len(blocks) != 2 {
		t.Fatalf("docs/install.md has %d kustomizations, want 2", len(blocks))
	}
	return strings.ReplaceAll(blocks[0], "../front-proxy/deploy/", "../"), blocks[1]
}

// TestKustomizationOfThePage: what docs/install.md has readers write gives them a way in, their image,
// mapping and flag.
func TestKustomizationOfThePage(t *testing.T) {
	whole, _ := kustomizations(t)
	all := objects(t, kustomized(t, overlay(t, map[string]string{"kustomization.yaml": whole, "mapping.yaml": "[{path: /clusters/}]\n"})))
	service, c := typed[corev1.Service](t, all, "Service front-proxy"), typed[appsv1.Deployment](t, all, "Deployment front-proxy").Spec.Template.Spec.Containers[0]
	got := map[string]any{
		"type": service.Spec.Type, "port": service.Spec.Ports[0].Port, "image": c.Image, "mapping": config(t, all, "front-proxy")["mapping.yaml"],
		"gate": slices.Contains(c.Args, "--feature-gates=WorkspaceAuthentication=true"),
	}
	want := map[string]any{"type": corev1.ServiceTypeLoadBalancer, "port": int32(443), "image": "registry.example.com/front-proxy:front-proxy-v0.1.0", "mapping": "[{path: /clusters/}]\n", "gate": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestKustomizePatch: the patch for a flag and its files in docs/install.md does what it says.
func TestKustomizePatch(t *testing.T) {
	_, files := kustomizations(t)
	dir := overlay(t, map[string]string{"kustomization.yaml": "resources: [../kustomize]\n" + files, "mapping.yaml": "[]\n", "mount-hosts.yaml": "[]\n"})
	all := objects(t, kustomized(t, dir))
	pod := typed[appsv1.Deployment](t, all, "Deployment front-proxy").Spec.Template.Spec
	if wrong := confined(pod); len(wrong) > 0 {
		t.Error(wrong)
	}
	told := slices.Contains(pod.Containers[0].Args, "--mount-hosts-file=/etc/front-proxy/config/mount-hosts.yaml")
	mounted := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == "kcp-mounts" })
	_, has := config(t, all, "front-proxy")["mount-hosts.yaml"]
	if !told || !mounted || !has {
		t.Errorf("is told of the file %t, its files are mounted %t, has the file %t", told, mounted, has)
	}
}

// TestComponentForOpenShift: the pods choose neither user nor group, are as confined as ever, and reach
// DNS, whose pods are on another port there; with the values for OpenShift, too.
func TestComponentForOpenShift(t *testing.T) {
	dir := overlay(t, map[string]string{"kustomization.yaml": "resources: [../kustomize]\ncomponents: [../kustomize/components/openshift]\n"})
	all := objects(t, kustomized(t, dir))
	for name, from := range map[string]map[string]*unstructured.Unstructured{"component": all, "values": objects(t, charted(t, valuesOf("openshift")))} {
		policy := typed[networkingv1.NetworkPolicy](t, from, "NetworkPolicy front-proxy")
		if !slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
			return len(rule.To) == 0 && slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool {
				return p.Port.IntValue() == 5353 && *p.Protocol == corev1.ProtocolUDP
			})
		}) {
			t.Errorf("%s: no DNS on port 5353: %+v", name, policy.Spec.Egress)
		}
	}
	pod := typed[appsv1.Deployment](t, all, "Deployment front-proxy").Spec.Template.Spec
	if s := pod.SecurityContext; s.RunAsUser != nil || s.RunAsGroup != nil || s.FSGroup != nil {
		t.Errorf("OpenShift cannot choose: %+v", s)
	}
	if wrong := confined(pod); len(wrong) > 0 {
		t.Error(wrong)
	}
}

// TestSecretsOfThePage runs the commands of docs/install.md that make the Secrets, as far as kubectl
// does that without a cluster: they are the ones that the base mounts, with the keys that it reads.
func TestSecretsOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	check(t, err)
	_, rest, found := strings.Cut(string(page), "    kubectl --namespace kcp create secret tls ")
	commands, _, _ := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatal("docs/install.md has no commands that make the Secrets")
	}
	dir := t.TempDir()
	here, err := os.Getwd()
	check(t, err)
	check(t, os.Symlink(here, filepath.Join(dir, "deploy")))
	ca, err := harness.NewCA(t.TempDir(), "any")
	check(t, err)
	pair, err := ca.Client(t.TempDir(), "any")
	check(t, err)
	for _, name := range []string{"serving", "forwarding", "root", "shards"} {
		check(t, os.WriteFile(filepath.Join(dir, name+".crt"), pair.Cert, 0o600))
		check(t, os.WriteFile(filepath.Join(dir, name+".key"), pair.Key, 0o600))
	}
	for _, name := range []string{"client", "requestheader", "server"} {
		check(t, os.WriteFile(filepath.Join(dir, name+"-ca.crt"), ca.PEM, 0o600))
	}
	binaries, err := harness.FindBinaries("")
	check(t, err)
	script := "set -e\nkubectl() { echo ---; '" + binaries.Kubectl + "' \"$@\" --dry-run=client --output=yaml; }\nkubectl --namespace kcp create secret tls " + commands
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.Output()
	check(t, err)
	all, made := objects(t, out), map[string][]string{}
	for key := range all {
		secret := typed[corev1.Secret](t, all, key)
		made[secret.Name] = slices.Sorted(maps.Keys(secret.Data))
	}
	want := map[string][]string{}
	for _, v := range typed[appsv1.Deployment](t, objects(t, kustomized(t, "kustomize")), "Deployment front-proxy").Spec.Template.Spec.Volumes {
		if v.Secret == nil {
			continue
		}
		want[v.Secret.SecretName] = []string{"tls.crt", "tls.key"}
		if strings.HasSuffix(v.Name, "-kubeconfig") {
			want[v.Secret.SecretName] = []string{"kubeconfig", "tls.crt", "tls.key"}
		}
		if len(v.Secret.Items) > 0 {
			want[v.Secret.SecretName] = []string{v.Secret.Items[0].Key}
		}
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("Secrets (-the base mounts +the page makes):\n%s", diff)
	}
}

// TestAdministratorsKeysStayPrivate runs the commands of docs/install.md that write an administrator's
// keys, with answers of ours to kubectl's questions to a cluster: nobody else may read the files.
func TestAdministratorsKeysStayPrivate(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	check(t, err)
	binaries, err := harness.FindBinaries("")
	check(t, err)
	for from, files := range map[string][]string{"secret/kcp-admin-kubeconfig": {"admin.kubeconfig"}, "certificate/kcp-admin": {"admin.kubeconfig", "admin.key"}} {
		_, rest, found := strings.Cut(string(page), from+"\n")
		commands, _, _ := strings.Cut(rest, "\n\n")
		if !found {
			t.Errorf("docs/install.md has no commands after %q", from)
			continue
		}
		script := "set -e; umask 022\nkubectl() { case \"$1 $4\" in 'config '*) '" + binaries.Kubectl + "' \"$@\";; *secret) echo c2VjcmV0;; esac; }\n" + commands
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		for _, name := range files {
			info, err := os.Stat(filepath.Join(cmd.Dir, name))
			check(t, err)
			if info.Mode() != 0o600 || info.Size() == 0 {
				t.Errorf("after %s, %s has mode %o and %d bytes", from, name, info.Mode(), info.Size())
			}
		}
	}
}

// TestAlertsFromThePage: the line of docs/install.md that prints the alerts for a Prometheus that was
// not installed with the chart gives them the label by which it selects them; and the ServiceMonitor that
// it prints with more options selects the base's Service.
func TestAlertsFromThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	check(t, err)
	_, rest, found := strings.Cut(string(page), "    helm template front-proxy deploy/charts/front-proxy ")
	line, _, piped := strings.Cut(rest, " | kubectl apply -f -")
	_, more, with := strings.Cut(string(page), "**kustomize**: with `")
	options, _, _ := strings.Cut(more, "`")
	if !found || !piped || !with {
		t.Fatal("docs/install.md has no line that prints the alerts, or says nothing of the ServiceMonitor")
	}
	args := append([]string{"template", "front-proxy", "charts/front-proxy"}, strings.Fields(strings.ReplaceAll(line, "\\\n", ""))...)
	alerts := objects(t, run(t, nil, tool(t, "helm"), args...))
	if rule := alerts["PrometheusRule front-proxy"]; rule == nil || rule.GetLabels()["release"] != "prometheus" || alerts["ConfigMap front-proxy-dashboards"] == nil || len(alerts) != 2 {
		t.Errorf("it prints %v", slices.Sorted(maps.Keys(alerts)))
	}
	all := objects(t, run(t, nil, tool(t, "helm"), append(args, strings.Fields(options)...)...))
	monitor := all["ServiceMonitor front-proxy"]
	selected, ok := field(t, monitor, "spec", "selector", "matchLabels").(map[string]any)
	service := objects(t, kustomized(t, "kustomize"))["Service front-proxy"]
	for name, value := range selected {
		ok = ok && service.GetLabels()[name] == value
	}
	if !ok || monitor.GetLabels()["release"] != "prometheus" {
		t.Errorf("the ServiceMonitor with labels %v selects %v, the Service has %v", monitor.GetLabels(), selected, service.GetLabels())
	}
}
