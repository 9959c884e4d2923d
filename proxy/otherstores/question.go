package otherstores

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
)

const (
	// maxList bounds, in bytes, what is read of the list, which has one object. The
	// version comes first, unless the server cannot give lists of metadata.
	maxList = 4 << 20
	// metadataList is the media type of a list without the objects' contents, or else with.
	metadataList = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
)

// Question is what a shard is asked: what a client would ask if it listed again.
type Question struct {
	// Request is the client's, which goes To a shard.
	Request *http.Request
	To      *destination.Destination
	// Rewrite makes the outgoing request, with the identity that the shard gets.
	Rewrite func(*httputil.ProxyRequest)
	// Timeout is how long the shard may take.
	Timeout time.Duration
	// ErrorLog gets what ReverseProxy logs.
	ErrorLog *log.Logger
}

// errListed ends a question when the answer has been read.
var errListed = errors.New("the list has been read")

// ListedVersion asks for one object of the collection at path, and returns the version of the list;
// false: the shard did not say.
func (q *Question) ListedVersion(path string) (version uint64, ok bool) {
	ctx, cancel := context.WithTimeout(q.Request.Context(), q.Timeout)
	defer cancel()
	list := q.Request.WithContext(ctx)
	list.Method, list.Body, list.GetBody, list.ContentLength, list.TransferEncoding = http.MethodGet, http.NoBody, nil, 0, nil
	ask := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			q.Rewrite(pr)
			q.To.SetURL(pr.Out.URL, path)
			pr.Out.URL.RawQuery = listQuery(q.Request.URL.RawQuery)
			for _, key := range [...]string{"Accept-Encoding", "Connection", "Upgrade", "Te", "Expect", "Content-Type"} {
				pr.Out.Header.Del(key)
			}
			pr.Out.Header.Set("Accept", metadataList)
		},
		Transport: q.To.Transport,
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode == http.StatusOK {
				version, ok = listVersion(io.LimitReader(res.Body, maxList))
			}
			return errListed // ReverseProxy closes the body
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {},
		ErrorLog:     q.ErrorLog,
	}
	ask.ServeHTTP(noWriter{}, list)
	return version, ok
}

// listQuery asks for one object, with the selectors of a query, on which the caller's
// permission may depend.
func listQuery(query string) string {
	wanted := "limit=1"
	for pair := range strings.SplitSeq(query, "&") {
		if requestinfo.First(pair, "labelSelector") != "" || requestinfo.First(pair, "fieldSelector") != "" {
			wanted += "&" + pair
		}
	}
	return wanted
}

// listVersion reads the resource version of a list in JSON; false: it has none.
func listVersion(from io.Reader) (version uint64, ok bool) {
	in := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) // as encoding/json does
	if t, err := in.ReadToken(); err != nil || t.Kind() != '{' {
		return 0, false
	}
	for in.PeekKind() == '"' {
		key, err := in.ReadToken()
		if err != nil {
			return 0, false
		}
		if key.String() == "metadata" {
			return metadataVersion(in)
		}
		if in.SkipValue() != nil {
			return 0, false
		}
	}
	return 0, false
}

func metadataVersion(in *jsontext.Decoder) (version uint64, ok bool) {
	value, err := in.ReadValue()
	var m struct{ ResourceVersion string }
	if err != nil || json.Unmarshal(value, &m) != nil {
		return 0, false
	}
	version, err = strconv.ParseUint(m.ResourceVersion, 10, 64)
	return version, err == nil
}

// noWriter is the writer of a ReverseProxy whose answer nobody gets.
type noWriter struct{}

func (noWriter) Header() http.Header { return http.Header{} }

func (noWriter) Write(b []byte) (int, error) { return len(b), nil }

func (noWriter) WriteHeader(int) {}
