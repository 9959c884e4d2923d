package apistatus

import (
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"frontproxy/internal/clip"
)

const (
	warningAgent = "front-proxy"
	// warningCode is the code of warnings that say nothing about caching.
	warningCode = 299
	// maxWarning and maxWorkspace bound the text of a warning and the workspace in it, in bytes.
	maxWarning, maxWorkspace = 512, 256
)

// Warn repeats in a Warning header why s refuses a request for the workspace that the path
// names as workspace ("" when it names none). kubectl prints each warning once, and shows
// little of the Status, or nothing when it refuses what kubectl asks first: which APIs there
// are. Codes that kubectl is clear about have no warning.
// See RFC 7234, section 5.5, and https://kubernetes.io/blog/2020/09/03/warnings/.
func Warn(h http.Header, s *metav1.Status, workspace string) {
	switch s.Code {
	case http.StatusForbidden:
		if strings.HasSuffix(s.Message, notPermitted) && workspace != "" {
			WarnNoAccess(h, workspace)
			return
		}
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable:
	default:
		return
	}
	addWarning(h, s.Message)
}

// WarnNoAccess says that there is no such workspace, or that the caller may not use it. Both
// read alike, so that nobody learns which workspaces exist.
func WarnNoAccess(h http.Header, workspace string) {
	addWarning(h, "workspace "+strconv.QuoteToASCII(clip.Clone(workspace, maxWorkspace))+" does not exist, or you have no access to it")
}

// addWarning adds nothing when the text cannot be in a header.
func addWarning(h http.Header, text string) {
	if value, err := utilnet.NewWarningHeader(warningCode, warningAgent, clip.Clone(text, maxWarning)); err == nil {
		h.Add("Warning", value)
	}
}
