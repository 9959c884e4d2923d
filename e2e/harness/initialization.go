package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	conditionsv1alpha1 "github.com/kcp-dev/sdk/apis/third_party/conditions/apis/conditions/v1alpha1"
)

// initialization is what a shard says of a logical cluster that is being made.
type initialization struct {
	cluster  corev1alpha1.LogicalCluster
	bindings struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Phase      string
				Conditions []condition
			}
		}
	}
}

// condition is one of an object, in part.
type condition struct{ Type, Status, Reason, Message string }

// unready says what keeps a workspace from being ready, as its shard has it: the
// initializers that are left, and what each APIBinding waits for. Nil: there is
// no more to say. Only members of system:masters may look, straight at the shard.
func (c *Client) unready(ctx context.Context, shard string, ws *tenancyv1alpha1.Workspace) error {
	if c.env == nil || ws.Spec.Cluster == "" || c.env.Shard(shard) == nil {
		return nil
	}
	admin := c.env.ShardAdmin(c.env.Shard(shard))
	var i initialization
	if err := admin.Get(ctx, ws.Spec.Cluster, LogicalClusters, corev1alpha1.LogicalClusterName, &i.cluster); err != nil {
		return fmt.Errorf("look at it on %s: %w", shard, err)
	}
	if err := admin.call(ctx, http.MethodGet, apiBindings.path(ws.Spec.Cluster), nil, &i.bindings); err != nil {
		return fmt.Errorf("look at its APIBindings on %s: %w", shard, err)
	}
	if i.givenUp() {
		if err := c.env.retryInitialization(ctx); err != nil {
			return errors.Join(&i, err)
		}
	}
	return &i
}

// Error implements error.
func (i *initialization) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "its initializers left are %v", i.cluster.Status.Initializers)
	for _, c := range i.cluster.Status.Conditions {
		if c.Status != "True" {
			fmt.Fprintf(&b, "; %s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	for _, binding := range i.bindings.Items {
		fmt.Fprintf(&b, "; APIBinding %s is %s", binding.Metadata.Name, binding.Status.Phase)
		for _, c := range binding.Status.Conditions {
			if c.Status != "True" {
				fmt.Fprintf(&b, ", %s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message)
			}
		}
	}
	return b.String()
}

// givenUp reports whether kcp has met an error while it made the workspace's first
// APIBindings and will not try again. Its controller does so (up to v0.32.3, in
// pkg/reconciler/tenancy/initialization) when a creation fails: it notes the
// error in a condition and drops the workspace from its queue. That happens
// when the virtual workspace through which it creates them has yet to hear of
// the logical cluster that the controller has seen there already, since one
// reads from an informer and the other from a watch of its own.
func (i *initialization) givenUp() bool {
	left := i.cluster.Status.Initializers
	if !slices.Contains(left, tenancyv1alpha1.WorkspaceAPIBindingsInitializer) {
		return false
	}
	return slices.ContainsFunc(i.cluster.Status.Conditions, func(c conditionsv1alpha1.Condition) bool {
		return c.Type == tenancyv1alpha1.WorkspaceAPIBindingsInitialized && c.Reason == tenancyv1alpha1.WorkspaceInitializedAPIBindingErrors
	})
}

// retryInterval is how often kcp is made to try again.
const retryInterval = 5 * time.Second

// retryInitialization has all shards look again at every workspace that is
// being made: they do when a workspace type with default APIBindings changes.
func (e *Environment) retryInitialization(ctx context.Context) error {
	e.retryMu.Lock()
	defer e.retryMu.Unlock()
	if time.Since(e.retried) < retryInterval {
		return nil
	}
	e.retried = time.Now()
	e.config.Progress("kcp has given up a workspace's APIBindings after an error: having it try again")
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"e2e/retried":%q}}}`, e.retried.Format(time.RFC3339Nano))
	return e.Admin().Patch(ctx, "root", WorkspaceTypes, "universal", patch)
}
