package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// TestManifestsAreWhatTheirTypesTake decodes all that is applied strictly into
// the Go types of its APIs.
func TestManifestsAreWhatTheirTypesTake(t *testing.T) {
	strict := tool(t, "strict")
	monitor, err := os.ReadFile("operator/servicemonitor.yaml")
	check(t, err)
	streams := map[string][]byte{"kustomize": kustomized(t, "kustomize"), "kubestellar": kustomized(t, "kubestellar"), "operator's ServiceMonitor": monitor}
	for name, values := range valueSets(t) {
		streams["chart, "+name] = charted(t, values...)
	}
	for _, dir := range []string{"rbac", "kubestellar"} {
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no manifests in %s: %v", dir, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(content, []byte("kind: BindingPolicy")) && !bytes.Contains(content, []byte("kind: Kustomization")) {
				streams[file] = content
			}
		}
	}
	for name, stream := range streams {
		if _, err := attempt(stream, strict); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, wrong := range map[string]string{
		"unknown field": "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {port: 1}\n",
		"wrong type":    "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\nspec: {usages: client auth}\n",
		"wrong route":   "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: x}\nspec: {hostname: [x]}\n",
		"unknown kind":  "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitr\nmetadata: {name: x}\n",
	} {
		if _, err := attempt([]byte(wrong), strict); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// frontProxy and kubeconfig have the fields of kcp-operator's objects that ours
// use, as of its sdk/apis/operator/v1alpha1 in the summer of 2026; extraVolumes and
// extraVolumeMounts as of its pull request 290. That module is not published where
// this one is built.
type frontProxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		RootShard struct {
			Reference *corev1.LocalObjectReference `json:"ref"`
		} `json:"rootShard"`
		Replicas *int32         `json:"replicas"`
		Auth     frontProxyAuth `json:"auth"`
		Image    struct {
			Repository string `json:"repository"`
			Tag        string `json:"tag"`
		} `json:"image"`
		Resources          *corev1.ResourceRequirements `json:"resources"`
		ExtraArgs          []string                     `json:"extraArgs"`
		ExtraVolumes       []corev1.Volume              `json:"extraVolumes"`
		ExtraVolumeMounts  []corev1.VolumeMount         `json:"extraVolumeMounts"`
		DeploymentTemplate struct {
			Spec struct {
				Template struct {
					Metadata struct {
						Annotations map[string]string `json:"annotations"`
						Labels      map[string]string `json:"labels"`
					} `json:"metadata"`
					Spec struct {
						NodeSelector     map[string]string             `json:"nodeSelector"`
						Affinity         *corev1.Affinity              `json:"affinity"`
						Tolerations      []corev1.Toleration           `json:"tolerations"`
						HostAliases      []corev1.HostAlias            `json:"hostAliases"`
						ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
					} `json:"spec"`
				} `json:"template"`
			} `json:"spec"`
		} `json:"deploymentTemplate"`
		ServiceTemplate struct {
			Spec struct {
				Type      corev1.ServiceType `json:"type"`
				ClusterIP string             `json:"clusterIP"`
			} `json:"spec"`
		} `json:"serviceTemplate"`
		CertificateTemplates map[string]struct {
			Spec struct {
				DNSNames    []string `json:"dnsNames"`
				IPAddresses []string `json:"ipAddresses"`
			} `json:"spec"`
		} `json:"certificateTemplates"`
	} `json:"spec"`
}

// frontProxyAuth has the fields of spec.auth that docs/install.md shows, as of kcp-operator 0.10.
type frontProxyAuth struct {
	ServiceAccount struct {
		Enabled bool `json:"enabled"`
	} `json:"serviceAccount"`
	OIDC *struct {
		IssuerURL      string `json:"issuerURL"`
		ClientID       string `json:"clientID"`
		UsernameClaim  string `json:"usernameClaim"`
		UsernamePrefix string `json:"usernamePrefix"`
		GroupsClaim    string `json:"groupsClaim"`
		GroupsPrefix   string `json:"groupsPrefix"`
		CAFile         *struct {
			Name string `json:"name"`
			Key  string `json:"key"`
		} `json:"caFileRef"`
	} `json:"oidc"`
}

type kubeconfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Target struct {
			FrontProxy *corev1.LocalObjectReference `json:"frontProxyRef"`
		} `json:"target"`
		Username      string                      `json:"username"`
		Groups        []string                    `json:"groups"`
		Validity      metav1.Duration             `json:"validity"`
		Secret        corev1.LocalObjectReference `json:"secretRef"`
		Authorization struct {
			Bindings struct {
				Cluster string   `json:"cluster"`
				Roles   []string `json:"clusterRoles"`
			} `json:"clusterRoleBindings"`
		} `json:"authorization"`
	} `json:"spec"`
}

func strictly(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestOperatorKeepsMountsOn: the tag must not read as a version, or the operator
// takes it for kcp's.
func TestOperatorKeepsMountsOn(t *testing.T) {
	var fp frontProxy
	strictly(t, "operator/frontproxy.yaml", &fp)
	if tag := strings.TrimPrefix(fp.Spec.Image.Tag, "v"); tag == "" || tag[0] >= '0' && tag[0] <= '9' {
		t.Errorf("the tag %q reads as a version of kcp", fp.Spec.Image.Tag)
	}
	mounted := map[string]string{}
	for _, m := range fp.Spec.ExtraVolumeMounts {
		mounted[m.Name] = m.MountPath
	}
	for _, v := range fp.Spec.ExtraVolumes {
		if v.EmptyDir == nil || mounted[v.Name] != "/run/front-proxy" || !slices.Contains(fp.Spec.ExtraArgs, "--debug-address=unix:///run/front-proxy/debug.sock") {
			t.Errorf("the volume %s is not what the debug socket is in", v.Name)
		}
	}
	var k kubeconfig
	strictly(t, "operator/kubeconfig.yaml", &k)
	if k.Spec.Target.FrontProxy == nil || k.Spec.Target.FrontProxy.Name != fp.Name || k.Namespace != fp.Namespace {
		t.Errorf("the Kubeconfig %s is not for the FrontProxy %s", k.Name, fp.Name)
	}
	content, err := os.ReadFile("rbac/metrics-reader.yaml")
	if err != nil {
		t.Fatal(err)
	}
	binding := typed[rbacv1.ClusterRoleBinding](t, objects(t, content), "ClusterRoleBinding front-proxy:metrics-reader")
	if diff := cmp.Diff([]string{binding.RoleRef.Name}, k.Spec.Authorization.Bindings.Roles); diff != "" || binding.Subjects[0].Name != k.Spec.Username {
		t.Errorf("rbac/metrics-reader.yaml grants another role, or another user than %s (-want +got):\n%s", k.Spec.Username, diff)
	}
}

// TestOperatorsServiceMonitor: it selects the Service that the operator makes for
// operator/frontproxy.yaml, expects the name that its certificate has, and shows the
// certificate of operator/kubeconfig.yaml.
func TestOperatorsServiceMonitor(t *testing.T) {
	var fp frontProxy
	strictly(t, "operator/frontproxy.yaml", &fp)
	var k kubeconfig
	strictly(t, "operator/kubeconfig.yaml", &k)
	content, err := os.ReadFile("operator/servicemonitor.yaml")
	check(t, err)
	m := objects(t, content)["ServiceMonitor front-proxy"]
	if m.GetNamespace() != fp.Namespace {
		t.Errorf("it is in namespace %s", m.GetNamespace())
	}
	selected := map[string]any{"app.kubernetes.io/component": "front-proxy", "app.kubernetes.io/instance": fp.Name}
	if diff := cmp.Diff(any(selected), field(t, m, "spec", "selector", "matchLabels")); diff != "" {
		t.Errorf("it selects (-want +got):\n%s", diff)
	}
	endpoint := field(t, m, "spec", "endpoints").([]any)[0].(map[string]any)
	key := func(secret, key string) map[string]any { return map[string]any{"name": secret, "key": key} }
	want := map[string]any{
		"serverName": fp.Name + "-front-proxy." + fp.Namespace + ".svc.cluster.local",
		"ca":         map[string]any{"secret": key(fp.Spec.RootShard.Reference.Name+"-server-ca", "tls.crt")},
		"cert":       map[string]any{"secret": key("kubeconfig-cert-"+k.Name, "tls.crt")}, "keySecret": key("kubeconfig-cert-"+k.Name, "tls.key"),
	}
	if diff := cmp.Diff(any(want), endpoint["tlsConfig"]); diff != "" || endpoint["port"] != "https" {
		t.Errorf("port %v, tlsConfig (-want +got):\n%s", endpoint["port"], diff)
	}
}

// bindingPolicy has the fields of KubeStellar's that ours use, as of its
// api/control/v1alpha1 in the summer of 2026.
type bindingPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ClusterSelectors []metav1.LabelSelector `json:"clusterSelectors"`
		Downsync         []struct {
			APIGroup        *string                `json:"apiGroup"`
			Resources       []string               `json:"resources"`
			Namespaces      []string               `json:"namespaces"`
			ObjectNames     []string               `json:"objectNames"`
			ObjectSelectors []metav1.LabelSelector `json:"objectSelectors"`
		} `json:"downsync"`
	} `json:"spec"`
}

// resources are the kinds that are downsynced.
var resources = map[string]string{
	"Namespace": "namespaces", "Service": "services", "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps", "Deployment": "deployments",
	"PodDisruptionBudget": "poddisruptionbudgets", "NetworkPolicy": "networkpolicies",
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
}

// TestBindingPoliciesSelectEverything: each manifest is selected by the policy,
// and the rights' objects by the other, but for the namespace.
func TestBindingPoliciesSelectEverything(t *testing.T) {
	read := func(file string) []byte {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for file, manifests := range map[string][]byte{
		"kubestellar/bindingpolicy.yaml":      kustomized(t, "kubestellar"),
		"kubestellar/bindingpolicy-rbac.yaml": slices.Concat(read("kubestellar/aggregated.yaml"), []byte("\n---\n"), read("kubestellar/direct.yaml")),
	} {
		var policy bindingPolicy
		strictly(t, file, &policy)
		for key, o := range objects(t, manifests) {
			if o.GetKind() == "Namespace" && strings.Contains(file, "rbac") {
				continue
			}
			group := o.GroupVersionKind().Group
			selected := false
			for _, d := range policy.Spec.Downsync {
				labelled := len(d.ObjectSelectors) == 0
				for _, s := range d.ObjectSelectors {
					selector, err := metav1.LabelSelectorAsSelector(&s)
					if err != nil {
						t.Fatal(err)
					}
					labelled = labelled || selector.Matches(labels.Set(o.GetLabels()))
				}
				selected = selected || labelled && *d.APIGroup == group && slices.Contains(d.Resources, resources[o.GetKind()]) &&
					(len(d.Namespaces) == 0 || slices.Contains(d.Namespaces, o.GetNamespace())) && (len(d.ObjectNames) == 0 || slices.Contains(d.ObjectNames, o.GetName()))
			}
			if !selected {
				t.Errorf("%s does not select %s", file, key)
			}
		}
	}
}

// TestChartLints in every value set, and its schema refuses what is wrong.
func TestChartLints(t *testing.T) {
	helm := tool(t, "helm")
	for _, values := range valueSets(t) {
		run(t, nil, helm, append([]string{"lint", "--strict", "charts/front-proxy"}, values...)...)
	}
	for _, wrong := range []string{
		"defaults.replicaCount=0", "defaults.replicas=2", "defaults.featureGates.X=perhaps", "defaults.kcp.rootURL=http://root", "defaults.service.port=0",
		"defaults.mapping[0].path=/x", "instances.Upper.replicaCount=2", "instances.a.unknown=1", "defaults.certManager.clientIssuer.kind=Thing",
		"defaults.files[0].name=tls,defaults.files[0].secret=s", "defaults.files[0].name=a", "defaults.mountHosts[0].url=https://x",
		"instances.a-name-that-is-so-long-that-no-secret-fits.replicaCount=1", "defaults.image.repository=registry.example.com/front-proxy:v1",
		"defaults.extraVolumes[0].name=tls", "prometheusRule.enabled=perhaps", "defaults.prometheusRule.enabled=true", "defaults.hostnames[0]=https://kcp.example.com",
		// What the templates refuse, because it cannot work.
		"defaults.ingress.enabled=true", "defaults.tlsRoute.enabled=true,defaults.hostnames[0]=kcp.example.com", "defaults.serviceMonitor.enabled=true",
		"defaults.certManager.enabled=true,defaults.serviceMonitor.enabled=true,defaults.serviceMonitor.namespace=monitoring",
		"defaults.certManager.enabled=true,defaults.certManager.publicIssuer.name=letsencrypt", "defaults.autoscaling.enabled=true,defaults.autoscaling.minReplicas=11",
		"defaults.fullnameOverride=kcp,instances.second.replicaCount=1", "defaults.serviceAccount.name=kcp,instances.second.replicaCount=1",
	} {
		if _, err := attempt(nil, helm, "template", "front-proxy", "charts/front-proxy", "--set="+wrong); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

// TestNamespaceIsAComponent: the base creates no namespace, because kcp's would be
// relabelled and deleted with it; the component does, and is in the manifests for
// KubeStellar.
func TestNamespaceIsAComponent(t *testing.T) {
	if objects(t, kustomized(t, "kustomize"))["Namespace kcp"] != nil {
		t.Error("the base has a namespace")
	}
	if objects(t, kustomized(t, "kubestellar"))["Namespace kcp"] == nil {
		t.Error("KubeStellar's manifests have no namespace")
	}
	dir := overlay(t, map[string]string{"kustomization.yaml": "namespace: proxies\nresources: [../kustomize]\ncomponents: [../kustomize/components/namespace]\n"})
	all := objects(t, kustomized(t, dir))
	if all["Namespace proxies"].GetLabels()["pod-security.kubernetes.io/enforce"] != "restricted" || all["Deployment front-proxy"].GetNamespace() != "proxies" {
		t.Error("an overlay's namespace is not created with its labels, or not used")
	}
}

// overlay is a directory with these files, which kustomize wants beside the base.
func overlay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", ".overlay-")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// TestChartAndKustomizeAgree: with default values the chart's release front-proxy
// is what the kustomize base is.
func TestChartAndKustomizeAgree(t *testing.T) {
	k, c := objects(t, kustomized(t, "kustomize")), objects(t, charted(t))
	const name = "front-proxy"
	compare := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-kustomize +chart):\n%s", what, diff)
		}
	}
	kd, cd := typed[appsv1.Deployment](t, k, "Deployment "+name), typed[appsv1.Deployment](t, c, "Deployment "+name)
	config := kd.Spec.Template.Spec.Volumes[0].ConfigMap
	kc, cc := typed[corev1.ConfigMap](t, k, "ConfigMap "+config.Name), typed[corev1.ConfigMap](t, c, "ConfigMap "+name+"-routing")
	config.Name = name + "-routing" // the base's has a hash of the content; the chart has it in an annotation
	if cd.Spec.Template.Annotations["checksum/mapping"] == "" {
		t.Error("pods of the chart outlive a change of the mapping, which is read at the start")
	}
	cd.Spec.Template.Annotations = nil
	compare("Deployment", kd.Spec, cd.Spec)
	compare("PodDisruptionBudget", typed[policyv1.PodDisruptionBudget](t, k, "PodDisruptionBudget "+name).Spec, typed[policyv1.PodDisruptionBudget](t, c, "PodDisruptionBudget "+name).Spec)
	compare("NetworkPolicy", typed[networkingv1.NetworkPolicy](t, k, "NetworkPolicy "+name).Spec, typed[networkingv1.NetworkPolicy](t, c, "NetworkPolicy "+name).Spec)
	compare("Service", typed[corev1.Service](t, k, "Service "+name).Spec, typed[corev1.Service](t, c, "Service "+name).Spec)
	compare("mapping", parsed(t, kc.Data["mapping.yaml"]), parsed(t, cc.Data["mapping.yaml"]))
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var out any
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// TestInstancesAreTheirOwn: each has its own gates, Secrets and selector.
func TestInstancesAreTheirOwn(t *testing.T) {
	all := objects(t, charted(t, valuesOf("everything")))
	first, second := typed[appsv1.Deployment](t, all, "Deployment front-proxy"), typed[appsv1.Deployment](t, all, "Deployment front-proxy-tenants")
	args := second.Spec.Template.Spec.Containers[0].Args
	for _, want := range []string{"--feature-gates=ServiceAccountWorkspaceOwners=false,WorkspaceAuthentication=true", "--service-account-keys-from-shards"} {
		if !slices.Contains(args, want) || slices.Contains(first.Spec.Template.Spec.Containers[0].Args, want) {
			t.Errorf("%s belongs to the second instance alone: %v", want, args)
		}
	}
	if *first.Spec.Replicas != 2 || *second.Spec.Replicas != 3 {
		t.Errorf("replicas %d and %d, want 2 and 3", *first.Spec.Replicas, *second.Spec.Replicas)
	}
	if cmp.Equal(first.Spec.Selector, second.Spec.Selector) {
		t.Error("both select the same pods")
	}
	for _, v := range second.Spec.Template.Spec.Volumes {
		if v.Secret != nil && !strings.HasPrefix(v.Secret.SecretName, "front-proxy-tenants-") {
			t.Errorf("the second instance mounts %s", v.Secret.SecretName)
		}
	}
	if all["ServiceMonitor front-proxy"] == nil || all["ServiceMonitor front-proxy-tenants"] != nil {
		t.Error("what is on for all and off for the second instance is not the first one's alone")
	}
}

// TestMountHosts: the list is a file that the proxy is told of, where there is
// one, and what it names can be mounted.
func TestMountHosts(t *testing.T) {
	all := objects(t, charted(t, valuesOf("everything")))
	for name, want := range map[string]bool{"front-proxy": false, "front-proxy-tenants": true} {
		file, has := typed[corev1.ConfigMap](t, all, "ConfigMap "+name+"-routing").Data["mount-hosts.yaml"]
		pod := typed[appsv1.Deployment](t, all, "Deployment "+name).Spec.Template.Spec
		told := slices.Contains(pod.Containers[0].Args, "--mount-hosts-file=/etc/front-proxy/config/mount-hosts.yaml")
		mounted := slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/front-proxy/mounts" })
		if has != want || told != want || mounted != want {
			t.Errorf("%s: has the file %t, is told of it %t, its files are mounted %t; want %t", name, has, told, mounted, want)
		}
		if !want {
			continue
		}
		entry := map[string]any{
			"url": "https://vcluster.example.com:6443/team-a", "backend_server_ca": "/etc/front-proxy/mounts/ca.crt",
			"proxy_client_cert": "/etc/front-proxy/mounts/tls.crt", "proxy_client_key": "/etc/front-proxy/mounts/tls.key",
		}
		if diff := cmp.Diff(any([]any{entry}), parsed(t, file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// allManifests are those of kustomize and of the chart with each set of values, by name.
func allManifests(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"kustomize": kustomized(t, "kustomize")}
	for name, values := range valueSets(t) {
		all[name] = charted(t, values...)
	}
	return all
}

// TestPodsAreConfined in every value set: the restricted Pod Security Standard,
// a read-only root, and every file an argument or a mapping names is mounted. Pods
// of helm test are no exception.
func TestPodsAreConfined(t *testing.T) {
	for name, stream := range allManifests(t) {
		all := objects(t, stream)
		for key := range all {
			var pod corev1.PodSpec
			switch kind, _, _ := strings.Cut(key, " "); kind {
			case "Deployment":
				pod = typed[appsv1.Deployment](t, all, key).Spec.Template.Spec
				probes := pod.Containers[0]
				if probes.LivenessProbe.HTTPGet.Path != "/livez" || probes.ReadinessProbe.HTTPGet.Path != "/readyz" {
					t.Errorf("%s, %s: other probes", name, key)
				}
			case "Pod":
				pod = typed[corev1.Pod](t, all, key).Spec
			default:
				continue
			}
			if user := pod.SecurityContext.RunAsUser; strings.HasPrefix(name, "openshift") {
				if user != nil || pod.SecurityContext.RunAsGroup != nil || pod.SecurityContext.FSGroup != nil {
					t.Errorf("%s, %s: OpenShift cannot choose the user and its groups", name, key)
				}
			} else if ptr.Deref(user, 0) != 65532 {
				t.Errorf("%s, %s: another user than the image's", name, key)
			}
			for _, wrong := range confined(pod) {
				t.Errorf("%s, %s: %s", name, key, wrong)
			}
		}
	}
}

func confined(pod corev1.PodSpec) (wrong []string) {
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	c := pod.Containers[0]
	p, s := pod.SecurityContext, c.SecurityContext
	expect(ptr.Deref(p.RunAsNonRoot, false), "it may run as root")
	expect(p.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "no seccomp profile")
	expect(!ptr.Deref(s.AllowPrivilegeEscalation, true) && ptr.Deref(s.ReadOnlyRootFilesystem, false) && s.Privileged == nil, "the container is not confined")
	expect(cmp.Equal(s.Capabilities, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}), "capabilities are kept")
	expect(!ptr.Deref(pod.AutomountServiceAccountToken, true) && !pod.HostNetwork && !pod.HostPID && !pod.HostIPC, "it has the cluster's or the host's")
	expect(c.Resources.Requests.Cpu().Sign() > 0 && c.Resources.Limits.Memory().Sign() > 0, "no requests or limits")
	empty := map[string]bool{}
	for _, v := range pod.Volumes {
		empty[v.Name] = v.EmptyDir != nil
	}
	var mounted []string
	for _, m := range c.VolumeMounts {
		expect(m.ReadOnly || empty[m.Name], "%s may be written", m.MountPath)
		mounted = append(mounted, m.MountPath)
	}
	for _, a := range c.Args {
		_, value, _ := strings.Cut(a, "=")
		for file := range strings.SplitSeq(strings.TrimPrefix(value, "unix://"), ",") {
			if strings.HasPrefix(file, "/") {
				expect(slices.Contains(mounted, filepath.Dir(file)), "%s is not mounted", a)
			}
		}
	}
	return wrong
}

// TestChartHasTheAlerts: a release has them once, as they are, where they are asked for.
func TestChartHasTheAlerts(t *testing.T) {
	content, err := os.ReadFile(alertRules)
	check(t, err)
	for name, values := range valueSets(t) {
		var found []string
		for key, o := range objects(t, charted(t, values...)) {
			if o.GetKind() != "PrometheusRule" {
				continue
			}
			found = append(found, key)
			want := string(content)
			if name == "kcp-chart" { // has an address of its own for the runbooks
				want = strings.ReplaceAll(want, "runbook_url: docs/", "runbook_url: https://wiki.example.com/front-proxy/")
			}
			if diff := cmp.Diff(parsed(t, want), o.Object["spec"]); diff != "" {
				t.Errorf("%s (-file +chart):\n%s", name, diff)
			}
		}
		if len(found) > 1 || len(found) == 0 && (name == "everything" || name == "secrets") {
			t.Errorf("%s has the rules %v, want one for the release", name, found)
		}
	}
}
