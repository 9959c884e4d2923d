package across

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"frontproxy/e2e/harness"
)

// settled is how long a change may take on a busy machine.
const settled = 2 * time.Minute

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (logs: %s)", err, env.Logs())
	}
}

func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	check(t, harness.Eventually(t.Context(), settled, what, f))
}

// status is the HTTP status of an answer by client-go's error; 0 for none.
func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return int(answer.Status().Code)
	}
	return 0
}

func wantStatus(t *testing.T, what string, err error, want int) {
	t.Helper()
	if got := status(err); got != want {
		t.Errorf("%s: answered %d (%v), want %d (logs: %s)", what, got, err, want, env.Logs())
	}
}

// workspace makes one below root.
func workspace(t *testing.T, shard string) harness.Workspace {
	t.Helper()
	ws, err := env.Admin().CreateWorkspace(t.Context(), "root", "across-"+strings.ToLower(rand.Text()[:10]), harness.TypeRef{}, shard)
	check(t, err)
	return ws
}

// account is a service account of a test.
type account struct {
	home  harness.Workspace
	name  string
	token string
}

// newAccount makes a service account in namespace default, with a token.
func newAccount(t *testing.T, home harness.Workspace, name string) account {
	t.Helper()
	kube, err := env.Admin().Kube(home.Path)
	check(t, err)
	var token string
	eventually(t, "a token of "+name+" in "+home.Path, func(ctx context.Context) error {
		_, err := kube.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		request, err := kube.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err == nil {
			token = request.Status.Token
		}
		return err
	})
	return account{home, name, token}
}

// local is the account in its home, global everywhere.
func (a account) local() string { return "system:serviceaccount:default:" + a.name }
func (a account) global() string {
	return "system:kcp:serviceaccount:" + a.home.Cluster + ":default:" + a.name
}

// grant gives a subject rights in a workspace.
func grant(t *testing.T, ws harness.Workspace, rules []rbacv1.PolicyRule, subject rbacv1.Subject) {
	t.Helper()
	eventually(t, "rights in "+ws.Path, func(ctx context.Context) error {
		return env.Admin().Grant(ctx, ws.Path, strings.ToLower(rand.Text()), rules, subject)
	})
}

func kubeOf(t *testing.T, c *harness.Client, ws harness.Workspace) kubernetes.Interface {
	t.Helper()
	kube, err := c.Kube(ws.Path)
	check(t, err)
	return kube
}

func listSecrets(ctx context.Context, kube kubernetes.Interface) error {
	// client-go would ask ten times when it gets a 503 with Retry-After.
	return kube.CoreV1().RESTClient().Get().Namespace("default").Resource("secrets").MaxRetries(0).Do(ctx).Error()
}

// proxyWith starts one more proxy with flags.
func proxyWith(t *testing.T, name string, args ...string) *harness.Proxy {
	t.Helper()
	p, err := env.NewProxy(name, harness.ProxyOptions{Args: append(args, env.VirtualWorkspaceArgs()...)})
	check(t, err)
	check(t, p.Start(t.Context()))
	t.Cleanup(func() { check(t, p.Stop()) })
	return p
}
