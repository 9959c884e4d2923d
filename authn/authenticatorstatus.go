package authn

import (
	"fmt"
	"strings"

	"frontproxy/authn/token"
	"frontproxy/index"
)

// describer is an authenticator that has more to tell than its name.
type describer interface{ describe() []AuthenticatorStatus }

// AuthenticatorsFor lists what may be asked about requests to t, in the order it is
// asked, with its states now.
func (a *Authenticator) AuthenticatorsFor(t *index.Target) []AuthenticatorStatus {
	var all []AuthenticatorStatus
	always := func(name string) {
		all = append(all, AuthenticatorStatus{Name: name, State: ready})
	}
	token := func(m token.Authenticator) {
		if d, ok := m.(describer); ok {
			all = append(all, d.describe()...)
		} else {
			always(m.Name())
		}
	}
	if a.certs.proxies != nil {
		always(byRequestHeader)
	}
	if a.certs.clients != nil {
		always(byClientCert)
	}
	for _, m := range a.tokens {
		token(m)
	}
	all = append(all, a.applyingTypes(&t.Type)...)
	if a.webhook != nil {
		token(a.webhook)
	}
	return all
}

// typeDescriber is a TypeSource that knows its configurations.
type typeDescriber interface {
	describeType(t index.Type) []AuthenticatorStatus
}

func (a *Authenticator) applyingTypes(t *index.Type) []AuthenticatorStatus {
	d, ok := a.types.(typeDescriber)
	switch {
	case !ok || t.Name == "" && t.Err == nil:
		return nil
	case t.Err != nil:
		return []AuthenticatorStatus{{Name: typeName(t), Workspace: true, State: unknown, Detail: t.Err.Error()}}
	}
	return d.describeType(*t)
}

// describe says how a's issuer is.
func (a *jwtAuthenticator) describe(name string, workspace bool) AuthenticatorStatus {
	s := a.issuer.Status()
	return AuthenticatorStatus{Name: name, Workspace: workspace, State: string(s.State), Detail: fmt.Sprintf("wants an audience of %q", a.audiences.list), Issuer: &s}
}

// describeType implements typeDescriber.
func (x *TypeIndex) describeType(t index.Type) []AuthenticatorStatus {
	shard, ok := x.config.Placement.ShardOf(t.Cluster)
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.shards[shard]
	if !ok || s == nil || !s.typesSynced || !s.configsSynced {
		return []AuthenticatorStatus{{Name: typeName(&t), Workspace: true, State: unknown, Detail: "its shard has not been read yet"}}
	}
	e := s.types[objectName{t.Cluster, t.Name}]
	if e == nil {
		return nil
	}
	return e.describe()
}

// describe tells each configuration's state, and each of its issuers'. The
// caller holds TypeIndex.mu.
func (e *typeEntry) describe() []AuthenticatorStatus {
	var all []AuthenticatorStatus
	for _, c := range e.configs {
		s := c.status()
		detail := s.Error
		if s.LoginError != "" {
			detail = strings.TrimPrefix(detail+"; ", "; ") + "login discovery tells nothing of it: " + s.LoginError
		}
		all = append(all, AuthenticatorStatus{Name: "configuration " + c.name.cluster + "/" + c.name.name, Workspace: true, State: string(s.State), Detail: detail, Version: s.Version})
		for _, a := range c.serving {
			all = append(all, a.describe(a.name, true))
		}
	}
	return all
}
