package workspacetypes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/issuer"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

// TenantConfiguration is a WorkspaceAuthenticationConfiguration as it is shown to those who may
// read the object. It has nothing of other logical clusters, nor of the operator's networks.
type TenantConfiguration struct {
	Name            string     `json:"name"`
	ResourceVersion string     `json:"resourceVersion,omitempty"`
	State           ShownState `json:"state"`
	Error           string     `json:"error,omitempty"`
	LoginError      string     `json:"loginError,omitempty"`
	Types           []string   `json:"types,omitempty"`
	// Issuers are those that serve tokens now, in the order of spec.jwt.
	Issuers []TenantIssuer `json:"issuers,omitempty"`
}

// TenantIssuer is an entry of spec.jwt and the issuer that it trusts. No time is before the one at
// which the entry began to be used: since when others use the issuer is not for owners.
type TenantIssuer struct {
	URL          string       `json:"url"`
	DiscoveryURL string       `json:"discoveryURL,omitempty"`
	CA           string       `json:"caSHA256,omitempty"`
	Audiences    []string     `json:"audiences"`
	State        issuer.State `json:"state"`
	// Error is why it could not be read the last time.
	Error       string      `json:"error,omitempty"`
	LastAttempt metav1.Time `json:"lastAttempt,omitzero"`
	LastSuccess metav1.Time `json:"lastSuccess,omitzero"`
	Keys        []TenantKey `json:"keys,omitempty"`
	IgnoredKeys []string    `json:"ignoredKeys,omitempty"`
	// RefusedInLastHour counts the tokens that were not accepted, by reason.
	RefusedInLastHour map[token.Reason]int `json:"refusedInLastHour,omitempty"`
}

// TenantKey is a key in use. Since is when this instance first read it.
type TenantKey struct {
	ID    string      `json:"id"`
	Since metav1.Time `json:"since,omitzero"`
}

// Bounds of what an owner is shown: how many configurations at once, how many types of
// each, and how many bytes of an error. A workspace may have any number of objects.
const maxShown, maxTypesShown, maxErrorShown = 256, 64, 4 << 10

// TenantConfigurations lists the configurations of a logical cluster by name, those included that a type
// names and that do not exist, but no more than some hundreds: more is how many it leaves out.
// With a name, it lists only that one. The error wraps token.ErrUndecided if they are not known
// now.
func (i *Index) TenantConfigurations(cluster, name string) (all []TenantConfiguration, more int, err error) {
	_, s, err := i.lockShardOf(cluster)
	if err != nil { // which names the shard
		return nil, 0, fmt.Errorf("%w: the shard of logical cluster %s has not been read yet", token.ErrUndecided, cluster)
	}
	defer i.mu.RUnlock()
	if name != "" {
		if c := s.configs[objectName{cluster, name}]; c != nil {
			return []TenantConfiguration{c.tenantConfiguration()}, 0, nil
		}
		return nil, 0, nil
	}
	entries := slices.SortedFunc(maps.Keys(s.configsOf[cluster]), func(a, b *configEntry) int { return cmp.Compare(a.name.name, b.name.name) })
	more = max(0, len(entries)-maxShown)
	for _, c := range entries[:len(entries)-more] {
		all = append(all, c.tenantConfiguration())
	}
	return all, more, nil
}

// tenantConfiguration is c as its owner may see it. The caller holds Index.mu.
func (c *configEntry) tenantConfiguration() TenantConfiguration {
	s := c.status()
	out := TenantConfiguration{Name: s.Name, ResourceVersion: s.Version, State: s.State, Error: clip.Clone(s.Error, maxErrorShown), LoginError: s.LoginError, Types: s.Types}
	if n := len(s.Types) - maxTypesShown; n > 0 {
		out.Types = append(slices.Clone(s.Types[:maxTypesShown]), fmt.Sprintf("and %d more", n))
	}
	for _, a := range c.inUse.authenticators {
		out.Issuers = append(out.Issuers, tenantIssuer(a))
	}
	return out
}

func tenantIssuer(a *jwt.Authenticator) TenantIssuer {
	s := a.Issuer().Status()
	used := func(at time.Time) metav1.Time { // not before a was built
		if !at.IsZero() && at.Before(a.Built()) {
			at = a.Built()
		}
		return metav1.NewTime(at)
	}
	out := TenantIssuer{
		URL: s.URL, DiscoveryURL: s.DiscoveryURL, CA: s.CA, Audiences: a.Audiences(), State: s.State, Error: s.Fault,
		LastAttempt: used(s.LastAttempt.Time), LastSuccess: used(s.LastSuccess.Time), IgnoredKeys: s.Ignored, RefusedInLastHour: a.RecentRefusals(),
	}
	for n, id := range s.KeyIDs {
		out.Keys = append(out.Keys, TenantKey{ID: id, Since: used(s.KeysSince[n])})
	}
	return out
}

// DryRunType names the type that DryRunForTenant makes up. No object can have this name.
const DryRunType = given

// DryRunForTenant builds the change's configurations as if they were applied in the logical
// cluster, within the limits that hold there and at its expense. What the change says of
// types has no effect. Close the DryRun.
func (i *Index) DryRunForTenant(cluster string, change *Change) (*DryRun, error) {
	names := slices.Sorted(maps.Keys(change.Configurations))
	switch {
	case len(names) == 0:
		return nil, errors.New("there is no WorkspaceAuthenticationConfiguration in the files")
	case len(names) > MaxConfigurations:
		return nil, fmt.Errorf("there are %d WorkspaceAuthenticationConfigurations, at most %d can be tried at once", len(names), MaxConfigurations)
	}
	own := *change
	own.Types = map[string][]string{DryRunType: names}
	return i.dryRun(i.builder, index.Type{Cluster: cluster, Name: DryRunType}, &own)
}

// TenantConfigurations are those of the DryRun as their owner may see them, after their
// issuers had until ctx ends to be read.
func (c *DryRun) TenantConfigurations(ctx context.Context) []TenantConfiguration {
	var all []TenantConfiguration
	for _, e := range c.entries {
		for _, a := range e.inUse.authenticators {
			select {
			case <-a.Issuer().Attempted():
			case <-ctx.Done():
			}
		}
		one := e.tenantConfiguration()
		one.Types = nil // the one that was made up
		all = append(all, one)
	}
	return all
}
