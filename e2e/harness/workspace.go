package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workspace is a workspace that is ready.
type Workspace struct {
	// Path is its canonical path, Cluster its logical cluster's name.
	Path, Cluster string
	// Shard holds it.
	Shard string
}

// TypeRef names a workspace type. The zero value means root:universal.
type TypeRef struct {
	// Path is the workspace that owns it.
	Path, Name string
}

// workspaceTimeout is how long a workspace may take to become ready.
const workspaceTimeout = 3 * time.Minute

// CreateWorkspace makes a workspace below parent on the given shard, as c, and
// waits until it is ready and c reaches it. A type that other shards have not seen yet is
// waited for.
func (c *Client) CreateWorkspace(ctx context.Context, parent, name string, kind TypeRef, shard string) (Workspace, error) {
	if kind.Name == "" {
		kind = TypeRef{Path: "root", Name: "universal"}
	}
	ws := &tenancyv1alpha1.Workspace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tenancy.kcp.io/v1alpha1", Kind: "Workspace"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: tenancyv1alpha1.WorkspaceSpec{
			Type:     &tenancyv1alpha1.WorkspaceTypeReference{Path: kind.Path, Name: tenancyv1alpha1.WorkspaceTypeName(kind.Name)},
			Location: &tenancyv1alpha1.WorkspaceLocation{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": shard}}},
		},
	}
	path := parent + ":" + name
	if err := Eventually(ctx, workspaceTimeout, "workspace "+path+" to be created", func(ctx context.Context) error {
		err := c.Create(ctx, parent, Workspaces, ws)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}); err != nil {
		return Workspace{}, err
	}
	err := Eventually(ctx, workspaceTimeout, "workspace "+path+" to be ready", func(ctx context.Context) error {
		if err := c.Get(ctx, parent, Workspaces, name, ws); err != nil {
			return err
		}
		if ws.Status.Phase != "Ready" {
			return errors.Join(fmt.Errorf("its phase is %q: %v", ws.Status.Phase, ws.Status.Conditions), c.unready(ctx, shard, ws))
		}
		return nil
	})
	if err == nil {
		// Where c goes through a proxy, that hears of it from the shards' watches,
		// a moment later.
		err = Eventually(ctx, workspaceTimeout, "workspace "+path+" to be reached", func(ctx context.Context) error {
			_, err := c.WhoAmI(ctx, path)
			return err
		})
	}
	return Workspace{Path: path, Cluster: ws.Spec.Cluster, Shard: shard}, err
}

// CreateType makes a workspace type in cluster that names authentication
// configurations of the same cluster and extends root:universal.
func (c *Client) CreateType(ctx context.Context, cluster, name string, configurations ...string) error {
	kind := &tenancyv1alpha1.WorkspaceType{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tenancy.kcp.io/v1alpha1", Kind: "WorkspaceType"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
	kind.Spec.Extend.With = []tenancyv1alpha1.WorkspaceTypeReference{{Path: "root", Name: "universal"}}
	for _, c := range configurations {
		kind.Spec.AuthenticationConfigurations = append(kind.Spec.AuthenticationConfigurations,
			tenancyv1alpha1.AuthenticationConfigurationReference{Name: c})
	}
	return c.createOnceServed(ctx, cluster, WorkspaceTypes, kind)
}

// CreateAuthConfiguration makes a WorkspaceAuthenticationConfiguration.
func (c *Client) CreateAuthConfiguration(ctx context.Context, cluster, name string, jwt ...tenancyv1alpha1.JWTAuthenticator) error {
	return c.createOnceServed(ctx, cluster, AuthConfigurations, &tenancyv1alpha1.WorkspaceAuthenticationConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tenancy.kcp.io/v1alpha1", Kind: "WorkspaceAuthenticationConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       tenancyv1alpha1.WorkspaceAuthenticationConfigurationSpec{JWT: jwt},
	})
}

// createOnceServed creates an object in a workspace that may be so new that
// its shard does not serve the resource yet: that is a 404 for a moment after
// the workspace's phase has become Ready.
func (c *Client) createOnceServed(ctx context.Context, cluster string, r Resource, object any) error {
	return Eventually(ctx, workspaceTimeout, r.Name+" to be served in "+cluster, func(ctx context.Context) error {
		err := c.Create(ctx, cluster, r, object)
		if err != nil && !apierrors.IsNotFound(err) {
			return permanentError{err}
		}
		return err
	})
}

// Grant makes a ClusterRole with rules and binds it to subjects.
func (c *Client) Grant(ctx context.Context, cluster, name string, rules []rbacv1.PolicyRule, subjects ...rbacv1.Subject) error {
	role := &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      rules,
	}
	binding := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   subjects,
	}
	return errors.Join(
		c.Create(ctx, cluster, ClusterRoles, role),
		c.Create(ctx, cluster, ClusterRoleBindings, binding),
	)
}

// User is a subject of Grant.
func User(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// Group is a subject of Grant.
func Group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// Rules for Grant.

// Everything is what an administrator of a workspace may do.
func Everything() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
	}
}

// AskWhoAmI is what is needed to enter a workspace and ask for oneself.
func AskWhoAmI() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"selfsubjectreviews"}},
		{Verbs: []string{"access"}, NonResourceURLs: []string{"/"}},
	}
}
