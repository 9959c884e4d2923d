package apistatus

import (
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/token"
)

// ForConfigurations is the answer to a request for the configurations of a logical cluster, when
// err kept the proxy from finding them: 503 if err wraps token.ErrUndecided, else 404.
func ForConfigurations(err error) *metav1.Status {
	if errors.Is(err, token.ErrUndecided) {
		return New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s", err.Error())
	}
	return New(http.StatusNotFound, metav1.StatusReasonNotFound, "%s", err.Error())
}

// NoConfiguration is a 404 for a name that no configuration of the workspace has.
func NoConfiguration(name string) *metav1.Status {
	return New(http.StatusNotFound, metav1.StatusReasonNotFound, "the workspace has no WorkspaceAuthenticationConfiguration %q", name)
}
