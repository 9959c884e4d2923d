package zpages

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Where the pages are.
const (
	MetricsPath = "/metrics"
	StatuszPath = "/statusz"
	FlagzPath   = "/flagz"
)

const (
	componentName = "front-proxy"
	// zpagesVersion is the API version of Kubernetes' z-pages (KEP-4827, KEP-4828).
	zpagesVersion = "config.k8s.io/v1alpha1"
)

// pageHeader begins every z-page of a Kubernetes component.
func pageHeader(kind string) string {
	return "\n" + componentName + " " + kind + "\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\n"
}

func writeText(w http.ResponseWriter, text string) {
	write(w, "text/plain; charset=utf-8", []byte(text))
}

// wantsJSON reads the Accept header as Kubernetes' z-pages do: JSON for a client that
// asks for the kind, else text. A client that accepts only JSON gets JSON, too.
func wantsJSON(r *http.Request, kind string) bool {
	plain := false
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case "application/json":
			if params["as"] == kind && params["g"]+"/"+params["v"] == zpagesVersion {
				return true
			}
			plain = plain || params["as"] == ""
		case "text/plain", "text/*", "*/*":
			return false
		}
	}
	return plain
}

// WriteJSON answers with v, which must have no types that cannot be encoded; no cache may
// keep the answer.
func WriteJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encode an answer: %w", err)) // it has no types that fail
	}
	write(w, "application/json", append(body, '\n'))
}

func write(w http.ResponseWriter, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) //nolint:gosec // JSON or plain text, nosniff; a client that is gone needs no answer
}
