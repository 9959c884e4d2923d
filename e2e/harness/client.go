package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Client reaches the proxy or a shard as one user. It is safe for concurrent
// use.
type Client struct {
	config *rest.Config
	rest   func() (*rest.RESTClient, error) // one for all clusters
	env    *Environment                     // nil: it knows none, and can't look at shards
}

// NewClient makes a client; config.Host has no path.
func NewClient(config *rest.Config) *Client {
	c := &Client{config: config}
	c.rest = sync.OnceValues(func() (*rest.RESTClient, error) {
		copied := rest.CopyConfig(config)
		copied.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
		return rest.UnversionedRESTClientFor(copied)
	})
	return c
}

// Config is its configuration for one cluster, given by path or name.
func (c *Client) Config(cluster string) *rest.Config {
	config := rest.CopyConfig(c.config)
	config.Host += "/clusters/" + cluster
	return config
}

// Kube is a Kubernetes client for one cluster.
func (c *Client) Kube(cluster string) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(c.Config(cluster))
}

// Dynamic is a client for any resource of one cluster.
func (c *Client) Dynamic(cluster string) (dynamic.Interface, error) {
	return dynamic.NewForConfig(c.Config(cluster))
}

// Healthy returns nil when a path such as /readyz answers 200.
func (c *Client) Healthy(ctx context.Context, path string) error {
	_, err := c.do(ctx, http.MethodGet, path, nil)
	return err
}

// Raw is what a path such as /metrics answers.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	client, err := c.rest()
	if err != nil {
		return nil, err
	}
	return client.Get().AbsPath(path).MaxRetries(0).DoRaw(ctx)
}

// Resource is a cluster-scoped resource.
type Resource struct{ Group, Version, Name string }

// Resources that the tests and the demo use. ConfigMaps are those of the
// namespace default.
var (
	Shards              = Resource{"core.kcp.io", "v1alpha1", "shards"}
	LogicalClusters     = Resource{"core.kcp.io", "v1alpha1", "logicalclusters"}
	Workspaces          = Resource{"tenancy.kcp.io", "v1alpha1", "workspaces"}
	WorkspaceTypes      = Resource{"tenancy.kcp.io", "v1alpha1", "workspacetypes"}
	AuthConfigurations  = Resource{"tenancy.kcp.io", "v1alpha1", "workspaceauthenticationconfigurations"}
	ClusterRoles        = Resource{"rbac.authorization.k8s.io", "v1", "clusterroles"}
	ClusterRoleBindings = Resource{"rbac.authorization.k8s.io", "v1", "clusterrolebindings"}
	SelfReviews         = Resource{"authentication.k8s.io", "v1", "selfsubjectreviews"}

	apiBindings = Resource{"apis.kcp.io", "v1alpha2", "apibindings"}
)

func (r Resource) path(cluster string) string {
	return "/clusters/" + cluster + "/apis/" + r.Group + "/" + r.Version + "/" + r.Name
}

// Create creates an object and decodes the answer into it.
func (c *Client) Create(ctx context.Context, cluster string, r Resource, object any) error {
	return c.call(ctx, http.MethodPost, r.path(cluster), object, object)
}

// Get reads an object into out, which may be nil.
func (c *Client) Get(ctx context.Context, cluster string, r Resource, name string, out any) error {
	return c.call(ctx, http.MethodGet, r.path(cluster)+"/"+name, nil, out)
}

// Update replaces an object and decodes the answer into it.
func (c *Client) Update(ctx context.Context, cluster string, r Resource, name string, object any) error {
	return c.call(ctx, http.MethodPut, r.path(cluster)+"/"+name, object, object)
}

// Patch applies a JSON merge patch.
func (c *Client) Patch(ctx context.Context, cluster string, r Resource, name, patch string) error {
	client, err := c.rest()
	if err != nil {
		return err
	}
	return client.Patch("application/merge-patch+json").AbsPath(r.path(cluster) + "/" + name).Body([]byte(patch)).Do(ctx).Error()
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, cluster string, r Resource, name string) error {
	return c.call(ctx, http.MethodDelete, r.path(cluster)+"/"+name, nil, nil)
}

// WhoAmI is who the cluster's shard takes the client for.
func (c *Client) WhoAmI(ctx context.Context, cluster string) (authenticationv1.UserInfo, error) {
	review := authenticationv1.SelfSubjectReview{}
	review.APIVersion, review.Kind = "authentication.k8s.io/v1", "SelfSubjectReview"
	err := c.Create(ctx, cluster, SelfReviews, &review)
	return review.Status.UserInfo, err
}

// RefusalID asks for something in a cluster, where the client is to be refused,
// and returns the id in the Status.
func (c *Client) RefusalID(ctx context.Context, cluster string) (string, error) {
	config := c.Config(cluster)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces", nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	var status metav1.Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		return "", fmt.Errorf("in %s: %s: %w", cluster, answer.Status, err)
	}
	if answer.StatusCode != http.StatusUnauthorized || status.Details == nil || status.Details.UID == "" {
		return "", fmt.Errorf("in %s: %s, want a refusal with an id", cluster, answer.Status)
	}
	return string(status.Details.UID), nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode %s %s: %w", method, path, err)
		}
	}
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// do sends JSON. Errors are those of client-go: k8s.io/apimachinery's
// api/errors tells them apart.
func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	client, err := c.rest()
	if err != nil {
		return nil, err
	}
	request := client.Verb(method).AbsPath(path).SetHeader("Accept", "application/json").MaxRetries(0)
	if body != nil {
		request = request.SetHeader("Content-Type", "application/json").Body(body)
	}
	return request.DoRaw(ctx)
}
