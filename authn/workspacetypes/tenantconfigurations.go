package workspacetypes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

// TenantConfiguration is a WorkspaceAuthenticationConfiguration as it is shown to those who may
// read the object. It has nothing of other logical clusters, nor of the operator's networks.
type TenantConfiguration struct {
	ConfigurationStatus
	// Entries are those of spec.jwt that serve tokens now.
	Entries []TenantEntry
}

// TenantEntry is an entry of a TenantConfiguration's spec.jwt.
type TenantEntry struct {
	Audiences []string
	// Issuer is the one it trusts. Its LastError and Users are not for owners, and empty. Nor
	// is since when others use it: no time is before the one at which this entry began to.
	Issuer issuer.Status
	// Refused counts the tokens that it did not accept in the last hour, by reason.
	Refused map[token.Reason]int
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
	out := TenantConfiguration{ConfigurationStatus: c.status()}
	out.Error = clip.Clone(out.Error, maxErrorShown)
	if n := len(out.Types) - maxTypesShown; n > 0 {
		out.Types = append(slices.Clone(out.Types[:maxTypesShown]), fmt.Sprintf("and %d more", n))
	}
	for _, a := range c.inUse.authenticators {
		e := TenantEntry{Audiences: a.Audiences(), Issuer: a.Issuer().Status(), Refused: a.RecentRefusals()}
		e.Issuer.LastError, e.Issuer.Users = "", 0
		since := []*time.Time{&e.Issuer.LastAttempt.Time, &e.Issuer.LastSuccess.Time}
		for n := range e.Issuer.KeysSince {
			since = append(since, &e.Issuer.KeysSince[n])
		}
		for _, at := range since {
			if !at.IsZero() && at.Before(a.Built()) {
				*at = a.Built()
			}
		}
		out.Entries = append(out.Entries, e)
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
