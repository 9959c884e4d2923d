package apistatus

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"frontproxy/index"
	"frontproxy/lookup"
)

// notPermitted is what kcp says about workspaces that do not exist, or may
// not be known to exist.
const notPermitted = "workspace access not permitted"

// ForLookup is the answer to a request whose path was ambiguous, named no cluster,
// or named one that the index did not find: the one place where errors of
// package lookup and of index.Lookup become a Status. Clients learn nothing from
// it about which workspaces exist elsewhere. An error of neither is a 500.
func ForLookup(err error, r *http.Request) *metav1.Status {
	switch {
	case errors.Is(err, lookup.ErrAmbiguous):
		return BadRequest("%s", err.Error())
	case errors.Is(err, lookup.ErrNotACluster), errors.Is(err, index.ErrUnknown):
		// As kcp's front-proxy says it: nobody is known yet, so the user is "", and the path is
		// taken for no resource.
		asked := authorizer.AttributesRecord{Verb: strings.ToLower(r.Method), Path: r.URL.Path}
		status := responsewriters.ForbiddenStatusError(asked, notPermitted).Status()
		return &status
	case errors.Is(err, index.ErrNotSynced):
		return unavailable("not all shards have been read yet")
	case errors.Is(err, index.ErrUnavailable):
		return unavailable("the workspace is unavailable")
	case errors.Is(err, index.ErrConflict):
		return unavailable("the workspace is being moved")
	}
	status := apierrors.NewInternalError(errors.New("the workspace could not be looked up")).Status()
	return &status
}

func unavailable(why string) *metav1.Status {
	s := New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s; try again later", why)
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: undecidedSeconds}
	return s
}
