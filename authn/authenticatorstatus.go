package authn

import (
	"frontproxy/authn/authstatus"
	"frontproxy/authn/clientcert"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// describer is an authenticator that has more to tell than its name.
type describer interface {
	Describe() []authstatus.Authenticator
}

// AuthenticatorsFor lists the authenticators of requests to workspaces of type t, in the order in
// which they are asked, with their present states. The zero Type is no type.
func (a *Authenticator) AuthenticatorsFor(t *index.Type) []authstatus.Authenticator {
	var all []authstatus.Authenticator
	always := func(name string) {
		all = append(all, authstatus.Authenticator{Name: name, State: authstatus.Ready})
	}
	token := func(m token.Authenticator) {
		if d, ok := m.(describer); ok {
			all = append(all, d.Describe()...)
		} else {
			always(m.Name())
		}
	}
	if a.certs.HasRequestHeaderCA() {
		always(clientcert.ByRequestHeader)
	}
	if a.certs.HasClientCA() {
		always(clientcert.ByClientCertificate)
	}
	for _, m := range a.config.Tokens {
		token(m)
	}
	all = append(all, a.applyingTypes(t)...)
	if a.config.Webhook != nil {
		token(a.config.Webhook)
	}
	return all
}

func (a *Authenticator) applyingTypes(t *index.Type) []authstatus.Authenticator {
	switch {
	case a.config.Types == nil || t.Name == "" && t.Err == nil:
		return nil
	case t.Err != nil:
		return []authstatus.Authenticator{{Name: workspacetypes.TypeName(t), Workspace: true, State: authstatus.Unknown, Detail: t.Err.Error()}}
	}
	return a.config.Types.DescribeType(*t)
}
