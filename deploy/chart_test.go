package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// schema is the part of a JSON schema that this package reads.
type schema struct {
	Ref         string            `json:"$ref"`
	Properties  map[string]schema `json:"properties"`
	Definitions map[string]schema `json:"definitions"`
}

// TestSchemaKnowsEveryValue: what values.schema.json allows is in values.yaml,
// where its default and its meaning are. (Helm itself refuses the reverse.)
func TestSchemaKnowsEveryValue(t *testing.T) {
	content, err := os.ReadFile("charts/front-proxy/values.schema.json")
	check(t, err)
	root := decoded[schema](t, content)
	delete(root.Properties, "global") // helm's own
	var compare func(path string, s schema, values *yaml.Node)
	compare = func(path string, s schema, values *yaml.Node) {
		if name, ok := strings.CutPrefix(s.Ref, "#/definitions/"); ok {
			s = root.Definitions[name]
		}
		if values.Kind != yaml.MappingNode || s.Properties == nil {
			return
		}
		var listed []string
		fields(values, func(key, value *yaml.Node) {
			listed = append(listed, key.Value)
			compare(path+"."+key.Value, s.Properties[key.Value], value)
		})
		for name := range s.Properties {
			if !slices.Contains(listed, name) {
				t.Errorf("values.yaml does not say what %s.%s is", path, name)
			}
		}
	}
	compare("", root, chartValues(t))
}

// TestChartFilesDoc: what a chart can only read from within itself is a copy of
// what it is elsewhere. With UPDATE_DOCS=1 it is copied.
func TestChartFilesDoc(t *testing.T) {
	const files = "charts/front-proxy/files"
	want := map[string]string{filepath.Join(files, "front-proxy.rules.yaml"): "alerts/front-proxy.rules.yaml"}
	dashboards, err := filepath.Glob("dashboards/*.json")
	check(t, err)
	for _, d := range dashboards {
		want[filepath.Join(files, d)] = d
	}
	there, err := filepath.Glob(files + "/dashboards/*")
	check(t, err)
	for _, file := range there {
		if want[file] == "" {
			t.Errorf("%s is a copy of nothing", file)
		}
	}
	for file, of := range want {
		content, err := os.ReadFile(of)
		check(t, err)
		if os.Getenv("UPDATE_DOCS") != "" {
			check(t, os.MkdirAll(filepath.Dir(file), 0o755)) //nolint:gosec // in the repository
			check(t, os.WriteFile(file, content, 0o644))     //nolint:gosec // in the repository
			continue
		}
		if copied, err := os.ReadFile(file); err != nil || !bytes.Equal(content, copied) {
			t.Errorf("%s differs from %s (%v); run: make docs", file, of, err)
		}
	}
}

// TestDashboards: the release has one ConfigMap with every dashboard as it is, and
// none by default.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("dashboards/*.json")
	check(t, err)
	want := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		check(t, err)
		want[filepath.Base(file)] = strings.TrimSpace(string(content))
	}
	const key = "ConfigMap front-proxy-dashboards"
	if objects(t, charted(t))[key] != nil {
		t.Error("dashboards are on by default")
	}
	got := typed[corev1.ConfigMap](t, objects(t, charted(t, valuesOf("everything"))), key)
	for name, text := range got.Data {
		got.Data[name] = strings.TrimSpace(text)
	}
	if len(want) == 0 {
		want = nil
	}
	if diff := cmp.Diff(want, got.Data); diff != "" || got.Labels["grafana_dashboard"] != "1" {
		t.Errorf("dashboards (-want +got), with labels %v:\n%s", got.Labels, diff)
	}
}

// field is what is at a path in an object.
func field(t *testing.T, o *unstructured.Unstructured, path ...string) any {
	t.Helper()
	if o == nil {
		t.Fatalf("no object with %v", path)
	}
	found, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	check(t, err)
	return found
}

// TestPublicCertificate: an ACME issuer signs only public names, the cluster's own
// only the Service's, and the proxy is told of both certificates.
func TestPublicCertificate(t *testing.T) {
	all := objects(t, charted(t, valuesOf("acme")))
	for name, want := range map[string][]any{
		"front-proxy-tls":        {"front-proxy", "front-proxy.kcp.svc", "front-proxy.kcp.svc.cluster.local"},
		"front-proxy-public-tls": {"kcp.example.com"},
	} {
		if diff := cmp.Diff(any(want), field(t, all["Certificate "+name], "spec", "dnsNames")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := field(t, all["Certificate front-proxy-public-tls"], "spec", "issuerRef", "name"); got != "letsencrypt" {
		t.Errorf("the public certificate is of %v", got)
	}
	if got := field(t, all["Certificate front-proxy-requestheader-client"], "spec", "commonName"); got != "kcp-front-proxy" {
		t.Errorf("the certificate for shards is of %v, whom virtual workspaces' servers do not allow", got)
	}
	args := typed[appsv1.Deployment](t, all, "Deployment front-proxy").Spec.Template.Spec.Containers[0].Args
	for _, want := range []string{"--tls-cert-file=/etc/front-proxy/tls/tls.crt", "--tls-sni-cert-key=/etc/front-proxy/public-tls/tls.crt,/etc/front-proxy/public-tls/tls.key"} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s in %v", want, args)
		}
	}
	if alone := objects(t, charted(t, valuesOf("everything"))); alone["Certificate front-proxy-public-tls"] != nil ||
		!slices.Contains(field(t, alone["Certificate front-proxy-tls"], "spec", "dnsNames").([]any), any("kcp.example.com")) {
		t.Error("without a public issuer the one serving certificate has not all names")
	}
}

// TestRatesOfTheChart: what an instance sets arrives in its flags, and the rest is the program's
// own default.
func TestRatesOfTheChart(t *testing.T) {
	all := objects(t, charted(t, valuesOf("everything")))
	for name, want := range map[string][]string{
		"front-proxy": {},
		"front-proxy-tenants": {"--address-requests-per-second=20", "--address-requests-burst=200", "--workspace-requests-per-second=250.5",
			"--rate-limit-dry-run", "--proxy-protocol-trusted-cidrs=10.9.0.0/24,fd00:9::/64"},
	} {
		args := typed[appsv1.Deployment](t, all, "Deployment "+name).Spec.Template.Spec.Containers[0].Args
		got := slices.DeleteFunc(slices.Clone(args), func(a string) bool {
			return !strings.Contains(a, "-requests-per-") && !strings.Contains(a, "-requests-burst") && !strings.HasPrefix(a, "--rate-") && !strings.HasPrefix(a, "--proxy-protocol")
		})
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("flags of %s (-want +got):\n%s", name, diff)
		}
	}
}

// TestKeysOfCAsStayOut: of a CA's Secret the pods get the certificate only, though
// cert-manager keeps the key in the same Secret.
func TestKeysOfCAsStayOut(t *testing.T) {
	for name, stream := range allManifests(t) {
		all := objects(t, stream)
		for key := range all {
			if !strings.HasPrefix(key, "Deployment ") {
				continue
			}
			for _, v := range typed[appsv1.Deployment](t, all, key).Spec.Template.Spec.Volumes {
				if strings.HasSuffix(v.Name, "-ca") && !cmp.Equal(v.Secret.Items, []corev1.KeyToPath{{Key: "tls.crt", Path: "tls.crt"}}) {
					t.Errorf("%s, %s: the whole of %s is mounted", name, key, v.Secret.SecretName)
				}
			}
		}
	}
}

// TestPodFields: what ci/pod-values.yaml sets arrives, and null takes away in one
// instance what defaults have.
func TestPodFields(t *testing.T) {
	all := objects(t, charted(t, valuesOf("pod")))
	d := typed[appsv1.Deployment](t, all, "Deployment edge")
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	if want := "registry.example.com/front-proxy:front-proxy-v0.1.0@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"; c.Image != want {
		t.Errorf("image %s, want %s", c.Image, want)
	}
	got := map[string]any{
		"env": len(c.Env), "envFrom": len(c.EnvFrom), "host alias": pod.HostAliases[0].IP, "grace": *pod.TerminationGracePeriodSeconds, "pull secret": pod.ImagePullSecrets[0].Name,
		"label": d.Spec.Template.Labels["cost-center"], "annotation": d.Spec.Template.Annotations["example.com/scrape"], "account": pod.ServiceAccountName,
		"surge": d.Spec.Strategy.RollingUpdate.MaxSurge.String(), "unavailable": d.Spec.Strategy.RollingUpdate.MaxUnavailable.String(),
		"delay": slices.Contains(c.Args, "--shutdown-delay-duration=30s"), "constraints": len(pod.TopologySpreadConstraints),
		"mounted":     slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "trust" }),
		"first delay": c.LivenessProbe.InitialDelaySeconds, "failures": c.LivenessProbe.FailureThreshold,
	}
	want := map[string]any{
		"env": 3, "envFrom": 1, "host alias": "10.96.2.2", "grace": int64(120), "pull secret": "pull", "label": "4711", "annotation": "false", "account": "edge-account",
		"surge": "25%", "unavailable": "0", "delay": true, "constraints": 1, "mounted": true, "first delay": int32(5), "failures": int32(6),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if typed[appsv1.Deployment](t, all, "Deployment front-proxy-guests").Spec.Template.Spec.ServiceAccountName != "guests" {
		t.Error("nameOverride does not rename the second instance, or it has the first one's account")
	}
	second := objects(t, charted(t, "--set=instances.second.podSecurityContext.fsGroup=null"))
	for name, want := range map[string]bool{"front-proxy": true, "front-proxy-second": false} {
		if group := typed[appsv1.Deployment](t, second, "Deployment "+name).Spec.Template.Spec.SecurityContext.FSGroup; (group != nil) != want {
			t.Errorf("%s has the group %v", name, group)
		}
	}
}

// TestAutoscaling: a number of pods in the Deployment would be set again at every
// upgrade.
func TestAutoscaling(t *testing.T) {
	all := objects(t, charted(t, valuesOf("autoscaling")))
	if n := typed[appsv1.Deployment](t, all, "Deployment front-proxy").Spec.Replicas; n != nil {
		t.Errorf("%d replicas beside the HorizontalPodAutoscaler", *n)
	}
	if target := field(t, all["HorizontalPodAutoscaler front-proxy"], "spec", "scaleTargetRef", "name"); target != "front-proxy" {
		t.Errorf("it scales %v", target)
	}
}

// TestRoutesLeadToTheInstancesService: routes and Ingresses lead to the instance's own Service, and the
// Service and the disruption budget select no pods of helm test.
func TestRoutesLeadToTheInstancesService(t *testing.T) {
	ingress := objects(t, charted(t, valuesOf("ingress")))["Ingress front-proxy"]
	if diff := cmp.Diff(map[string]string{"nginx.ingress.kubernetes.io/ssl-passthrough": "true", "nginx.ingress.kubernetes.io/force-ssl-redirect": "true", "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}, ingress.GetAnnotations()); diff != "" {
		t.Errorf("annotations for ingress-nginx (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"route.openshift.io/termination": "passthrough"}, objects(t, charted(t, valuesOf("openshift")))["Ingress front-proxy"].GetAnnotations()); diff != "" {
		t.Errorf("annotations for OpenShift (-want +got):\n%s", diff)
	}
	gateway := objects(t, charted(t, valuesOf("gateway")))
	for name, host := range map[string]any{"front-proxy": "kcp.example.com", "front-proxy-tenants": "tenants.kcp.example.com"} {
		if got := field(t, gateway["TLSRoute "+name], "spec", "hostnames"); !cmp.Equal(got, any([]any{host})) {
			t.Errorf("the route of %s is for %v", name, got)
		}
		rules := field(t, gateway["TLSRoute "+name], "spec", "rules").([]any)
		if backend := rules[0].(map[string]any)["backendRefs"].([]any)[0].(map[string]any); backend["name"] != name {
			t.Errorf("the route of %s leads to %v", name, backend)
		}
	}
	all := objects(t, charted(t, valuesOf("everything")))
	tests := 0
	for key, o := range all {
		if o.GetKind() != "Pod" {
			continue
		}
		tests++
		service := typed[corev1.Service](t, all, "Service front-proxy")
		labels := o.GetLabels()
		selected := true
		for name, value := range service.Spec.Selector {
			selected = selected && labels[name] == value
		}
		if selected {
			t.Errorf("the Service leads to %s", key)
		}
	}
	if tests != 4 {
		t.Errorf("%d pods of helm test, want two for each instance", tests)
	}
}

// TestServiceMonitorElsewhere: a monitor in another namespace finds the instance,
// and names only what that namespace must have.
func TestServiceMonitorElsewhere(t *testing.T) {
	all := objects(t, charted(t, valuesOf("secrets")))
	m := all["ServiceMonitor front-proxy"]
	if m.GetNamespace() != "monitoring" || !cmp.Equal(field(t, m, "spec", "namespaceSelector", "matchNames"), any([]any{"kcp"})) {
		t.Errorf("it is in %s and selects %v", m.GetNamespace(), field(t, m, "spec", "namespaceSelector"))
	}
	tls := field(t, m, "spec", "endpoints").([]any)[0].(map[string]any)["tlsConfig"]
	want := map[string]any{
		"serverName": "kcp-internal.example.com", "ca": map[string]any{"configMap": map[string]any{"name": "kcp-serving-ca", "key": "ca.crt"}},
		"cert": map[string]any{"secret": map[string]any{"name": "kcp-metrics", "key": "tls.crt"}}, "keySecret": map[string]any{"name": "kcp-metrics", "key": "tls.key"},
	}
	if diff := cmp.Diff(any(want), tls); diff != "" {
		t.Errorf("tlsConfig (-want +got):\n%s", diff)
	}
	for _, kind := range []string{"PrometheusRule front-proxy", "ConfigMap front-proxy-dashboards"} {
		if all[kind].GetNamespace() != "monitoring" {
			t.Errorf("%s is in %s", kind, all[kind].GetNamespace())
		}
	}
}

// notes is what helm says after an installation. It shows them only where there is
// a cluster, so here a copy of the chart has them as a ConfigMap.
func notes(t *testing.T, values ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "front-proxy")
	check(t, os.CopyFS(dir, os.DirFS("charts/front-proxy")))
	check(t, os.Rename(filepath.Join(dir, "templates/NOTES.txt"), filepath.Join(dir, "files/notes.txt")))
	const template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {text: {{ tpl (.Files.Get \"files/notes.txt\") . | toJson }}}\n"
	check(t, os.WriteFile(filepath.Join(dir, "templates/notes.yaml"), []byte(template), 0o600))
	out := run(t, nil, tool(t, "helm"), append([]string{"template", "front-proxy", dir, "--namespace=kcp", "--show-only=templates/notes.yaml"}, values...)...)
	return typed[corev1.ConfigMap](t, objects(t, out), "ConfigMap notes").Data["text"]
}

// TestNotes: they name what an installation still lacks.
func TestNotes(t *testing.T) {
	for name, tt := range map[string]struct {
		values  []string
		says    []string
		omitted []string
	}{
		"defaults": {nil, []string{
			"  - front-proxy-tls (tls.crt, tls.key)\n", "  - front-proxy-client-ca (tls.crt)\n", "  - front-proxy-root-kubeconfig (kubeconfig)\n",
			"Missing: image.repository", "Missing: hostnames", "Not monitored", "No alerts", "No dashboards", "deploy/rbac/root.yaml", "helm test front-proxy --namespace kcp",
			"https://front-proxy.kcp.svc:6443", "exec deploy/front-proxy -- /front-proxy explain --debug-address=unix:///run/front-proxy/debug.sock",
		}, []string{"One replica"}},
		"everything": {[]string{valuesOf("everything")}, []string{
			"https://kcp.example.com", "  - front-proxy-tenants-mounts\n", "  - front-proxy-server-ca (tls.crt)\n", "Missing: a way in", "in namespace kcp, for its ServiceMonitor: the Secret front-proxy-metrics (tls.crt, tls.key).",
		}, []string{"front-proxy-tls (", "kubeconfig (kubeconfig)", "image.repository", "No alerts", "No dashboards"}},
		"secrets": {[]string{valuesOf("secrets")}, []string{
			"  - kcp-public (tls.crt, tls.key)\n", "in namespace monitoring, for its ServiceMonitor: the Secret kcp-metrics (tls.crt, tls.key) and kcp-serving-ca (ca.crt).",
		}, []string{"Missing: hostnames"}},
		"least": {[]string{valuesOf("least")}, []string{"One replica"}, []string{"requestheader-ca", "debug.sock"}},
	} {
		got := notes(t, tt.values...)
		for _, want := range tt.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
		for _, wrong := range tt.omitted {
			if strings.Contains(got, wrong) {
				t.Errorf("%s: %q in\n%s", name, wrong, got)
			}
		}
	}
}
