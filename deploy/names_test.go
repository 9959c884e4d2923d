package deploy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// kcpsNames are the objects of kcp by kind and name, with all that its values can turn on. Those of
// its own chart, as release kcp: the templates in charts/kcp of github.com/kcp-dev/helm-charts, at
// 00193ce and before. Those of kcp-operator, for a RootShard root and the FrontProxy of
// operator/frontproxy.yaml: internal/resources/naming/v1.go of github.com/kcp-dev/kcp-operator, at
// 1506086. A Certificate's Secret is among the Secrets.
var kcpsNames = map[string][]string{
	"Deployment":            {"kcp", "kcp-front-proxy", "front-proxy-front-proxy", "root-kcp", "root-proxy"},
	"StatefulSet":           {"kcp-etcd"},
	"Service":               {"kcp", "kcp-internal", "kcp-front-proxy", "kcp-etcd", "front-proxy-front-proxy", "root-kcp", "root-proxy"},
	"PodDisruptionBudget":   {"kcp", "kcp-front-proxy", "kcp-etcd"},
	"ServiceMonitor":        {"kcp", "kcp-front-proxy", "kcp-etcd"},
	"Ingress":               {"kcp-front-proxy"},
	"Route":                 {"kcp-front-proxy"},
	"Gateway":               {"kcp-front-proxy"},
	"TLSRoute":              {"kcp-front-proxy"},
	"PersistentVolumeClaim": {"kcp-audit-logs"},
	"ConfigMap":             {"kcp-audit-policy", "kcp-front-proxy-config", "front-proxy-config", "root-proxy-config"},
	"Issuer": {
		"kcp-pki-bootstrap", "kcp-pki", "kcp-server-issuer", "kcp-client-issuer", "kcp-requestheader-client-issuer", "kcp-service-account-issuer",
		"kcp-front-proxy-client-issuer", "kcp-etcd-client-issuer", "kcp-etcd-peer-issuer",
		"root-ca", "root-server-ca", "root-client-ca", "root-requestheader-client-ca", "root-service-account-ca", "root-front-proxy-client-ca",
	},
	"Certificate": {
		"kcp-pki-ca", "kcp-ca", "kcp-client-ca", "kcp-requestheader-client-ca", "kcp-service-account-ca", "kcp-front-proxy-client-ca", "kcp-etcd-client-ca", "kcp-etcd-peer-ca",
		"kcp", "kcp-virtual-workspaces", "kcp-etcd-client", "kcp-internal-admin-kubeconfig", "kcp-external-admin-kubeconfig", "kcp-service-account", "kcp-mounts-proxy",
		"kcp-front-proxy", "kcp-front-proxy-requestheader", "kcp-front-proxy-kubeconfig", "kcp-front-proxy-vw-client", "kcp-front-proxy-metrics", "kcp-etcd", "kcp-etcd-peer",
		"root-ca", "root-server-ca", "root-client-ca", "root-requestheader-client-ca", "root-service-account-ca", "root-front-proxy-client-ca",
		"root-front-proxy-server", "root-front-proxy-kubeconfig", "root-front-proxy-requestheader", "root-front-proxy-admin-kubeconfig",
	},
	"Secret": {
		"kcp-pki-ca", "kcp-ca", "kcp-client-ca", "kcp-requestheader-client-ca", "kcp-service-account-ca", "kcp-front-proxy-client-ca", "kcp-etcd-client-ca", "kcp-etcd-peer-ca",
		"kcp-cert", "kcp-virtual-workspaces-cert", "kcp-etcd-client-cert", "kcp-internal-admin-kubeconfig-cert", "kcp-external-admin-kubeconfig-cert", "kcp-service-account-cert",
		"kcp-mounts-proxy-cert", "kcp-front-proxy-cert", "kcp-front-proxy-requestheader-cert", "kcp-front-proxy-kubeconfig-cert", "kcp-front-proxy-vw-client-cert",
		"kcp-front-proxy-metrics-cert", "kcp-etcd-cert", "kcp-etcd-peer-cert",
		"kcp-front-proxy-kubeconfig", "kcp-internal-admin-kubeconfig", "kcp-external-admin-kubeconfig", "kcp-token-auth-file", "kcp-root-identities",
		"root-ca", "root-server-ca", "root-client-ca", "root-requestheader-client-ca", "root-service-account-ca", "root-front-proxy-client-ca",
		"root-front-proxy-server", "root-front-proxy-kubeconfig", "root-front-proxy-requestheader", "root-front-proxy-admin-kubeconfig", "root-front-proxy-dynamic-kubeconfig",
		"front-proxy-merged-client-ca", "front-proxy-merged-ca-bundle",
	},
}

// TestNamesAreNotKCPs: what is applied, and the Secrets that it expects, would take over nothing of
// kcp's in the same namespace: `kubectl apply` changes an object whoever made it.
func TestNamesAreNotKCPs(t *testing.T) {
	streams := allManifests(t)
	streams["kubestellar"] = kustomized(t, "kubestellar")
	for name, stream := range streams {
		all := objects(t, stream)
		for key, o := range all {
			if slices.Contains(kcpsNames[o.GetKind()], o.GetName()) {
				t.Errorf("%s: %s is the name of an object of kcp's", name, key)
			}
			if o.GetKind() != "Deployment" || name != "kustomize" && name != "defaults" {
				continue // the other values name Secrets of kcp's on purpose
			}
			for _, v := range typed[appsv1.Deployment](t, all, key).Spec.Template.Spec.Volumes {
				if v.Secret != nil && slices.Contains(kcpsNames["Secret"], v.Secret.SecretName) {
					t.Errorf("%s: %s is the name of a Secret of kcp's", name, v.Secret.SecretName)
				}
			}
		}
	}
}

// TestReleaseNames: the instance front-proxy has the name of a release that says so already, as in
// charts whose release is usually called as they are; others keep their own.
func TestReleaseNames(t *testing.T) {
	for release, want := range map[string][]string{
		"front-proxy":    {"front-proxy", "front-proxy-tenants"},
		"eu-front-proxy": {"eu-front-proxy", "eu-front-proxy-tenants"},
		"edge":           {"edge-front-proxy", "edge-tenants"},
		"tenants":        {"tenants-front-proxy", "tenants-tenants"},
	} {
		out := run(t, nil, tool(t, "helm"), "template", release, "charts/front-proxy", "--set=instances.tenants.replicaCount=1,prometheusRule.enabled=true,dashboards.enabled=true")
		var got, once []string
		for _, o := range objects(t, out) {
			switch o.GetKind() {
			case "Service":
				got = append(got, o.GetName())
			case "PrometheusRule":
				once = append(once, o.GetName())
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || !cmp.Equal(once, want[:1]) {
			t.Errorf("release %s has the PrometheusRule %v and the Services (-want +got):\n%s", release, once, diff)
		}
	}
}

// TestServiceUnderKCPsName: the component adds a Service with kcp's name and port that leads to the
// base's pods, and no ServiceMonitor takes it for a second one.
func TestServiceUnderKCPsName(t *testing.T) {
	dir := overlay(t, map[string]string{"kustomization.yaml": "resources: [../kustomize]\ncomponents: [../kustomize/components/kcp-service]\n"})
	all := objects(t, kustomized(t, dir))
	kcps, own := typed[corev1.Service](t, all, "Service kcp-front-proxy"), typed[corev1.Service](t, all, "Service front-proxy")
	if diff := cmp.Diff(own.Spec.Selector, kcps.Spec.Selector); diff != "" || kcps.Namespace != own.Namespace {
		t.Errorf("in namespace %s, selects (-base +component):\n%s", kcps.Namespace, diff)
	}
	if port := kcps.Spec.Ports[0]; port.Port != 8443 || port.TargetPort != own.Spec.Ports[0].TargetPort {
		t.Errorf("port %v", port)
	}
	if _, ok := kcps.Labels["app.kubernetes.io/instance"]; ok {
		t.Errorf("labels %v", kcps.Labels)
	}
}
