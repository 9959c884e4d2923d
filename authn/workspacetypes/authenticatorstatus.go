package workspacetypes

import (
	"strings"

	"frontproxy/authn/authstatus"
	"frontproxy/index"
)

// DescribeType is for explanations.
func (i *Index) DescribeType(t index.Type) []authstatus.Authenticator {
	_, s, err := i.lockShardOf(t.Cluster)
	if err != nil {
		return []authstatus.Authenticator{{Name: TypeName(&t), Workspace: true, State: authstatus.Unknown, Detail: "its shard has not been read yet"}}
	}
	defer i.mu.RUnlock()
	e := s.types[objectName{t.Cluster, t.Name}]
	if e == nil {
		return nil
	}
	return e.describe()
}

// describe tells each configuration's state, and each of its issuers'. The
// caller holds Index.mu.
func (e *typeEntry) describe() []authstatus.Authenticator {
	var all []authstatus.Authenticator
	for _, c := range e.configs {
		s := c.status()
		detail := s.Error
		if s.LoginError != "" {
			detail = strings.TrimPrefix(detail+"; ", "; ") + "not published by login discovery: " + s.LoginError
		}
		all = append(all, authstatus.Authenticator{Name: "configuration " + c.name.cluster + "/" + c.name.name, Workspace: true, State: string(s.State), Detail: detail, Version: s.Version})
		for _, a := range c.inUse.authenticators {
			all = append(all, a.Describe(a.Name(), true))
		}
	}
	return all
}

// TypeName is what verdicts call a type.
func TypeName(t *index.Type) string {
	if t.Name == "" {
		return "workspace type"
	}
	return "workspace type " + t.Path + ":" + t.Name
}
