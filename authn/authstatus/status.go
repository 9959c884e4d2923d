package authstatus

import "frontproxy/authn/issuer"

// States of an authenticator that has no states of its own.
const (
	Ready   = "Ready"
	Unknown = "Unknown"
)

// Authenticator describes an authenticator that may be asked about a target: its present state.
type Authenticator struct {
	// Name is as in verdicts, or a configuration's.
	Name string `json:"name"`
	// Workspace: it is of the target's type. Else it is the operator's.
	Workspace bool `json:"-"`
	// State is Ready or Unknown, or the state of its configuration, issuer or webhook.
	State string `json:"state"`
	// Detail says more, for example why it is broken.
	Detail string `json:"detail,omitempty"`
	// Version is the configuration's resourceVersion.
	Version string `json:"version,omitempty"`
	// Issuer is nil when it has none.
	Issuer *issuer.Status `json:"issuer,omitempty"`
}

// NotReloaded notes that what is in use is not what the file says, unless err is nil.
func NotReloaded(all []Authenticator, err error) []Authenticator {
	if err == nil {
		return all
	}
	for i := range all {
		all[i].Detail = "not reloaded: " + err.Error()
	}
	return all
}
