package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// errNoWorkspaceAuthentication says that nobody's configurations are in use.
var errNoWorkspaceAuthentication = errors.New("the operator of the proxy has not turned on workspace authentication (feature gate WorkspaceAuthentication): no configuration has an effect")

// TenantConfigurations returns the configurations of a logical cluster, or only the one with the
// name, as they are shown to those who may read these objects. more is how many it leaves out.
func (a *Authenticator) TenantConfigurations(cluster, name string) (all []workspacetypes.TenantConfiguration, more int, err error) {
	types, ok := a.config.Types.(*workspacetypes.Index)
	if !ok {
		return nil, 0, errNoWorkspaceAuthentication
	}
	return types.TenantConfigurations(cluster, name)
}

// DryRunConfigurations returns the state that the change's configurations would have if they were
// applied in the logical cluster, and, unless raw is empty, what they would decide about that token.
// Nobody else is asked about it, so the answer tells nothing about the operator's
// authenticators or other workspaces. Nothing is kept. It may take as long as ctx.
func (a *Authenticator) DryRunConfigurations(ctx context.Context, cluster string, change *workspacetypes.Change, raw string) ([]workspacetypes.TenantConfiguration, *Explanation, error) {
	types, ok := a.config.Types.(*workspacetypes.Index)
	if !ok {
		return nil, nil, errNoWorkspaceAuthentication
	}
	tried, err := types.DryRunForTenant(cluster, change) //nolint:contextcheck // upstream keeps the context it is given: none may end
	if err != nil {
		return nil, nil, err
	}
	defer tried.Close()
	var explanation *Explanation
	if raw != "" {
		certs, err := clientcert.New(clientcert.Config{Now: a.config.Now})
		if err != nil {
			return nil, nil, fmt.Errorf("no certificates: %w", err)
		}
		only := &Authenticator{config: Config{Types: tried, Now: a.config.Now}, certs: certs, refusals: a.refusals}
		explanation, err = only.Explain(ctx, Request{
			Header: http.Header{"Authorization": {"Bearer " + raw}},
			Target: index.Target{Cluster: cluster, Type: index.Type{Cluster: cluster, Path: cluster, Name: workspacetypes.DryRunType}},
		}, nil)
		if err != nil {
			return nil, nil, err
		}
	}
	return tried.TenantConfigurations(ctx), explanation, nil
}
