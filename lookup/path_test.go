package lookup

import (
	"bufio"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kcp-dev/logicalcluster/v3"
)

// received is the request that a server makes of a request line.
func received(t *testing.T, line string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: front\r\n\r\n")))
	if err != nil {
		t.Fatalf("ReadRequest(%q): %v", line, err)
	}
	return r
}

func TestRawPath(t *testing.T) {
	for _, tt := range []struct {
		line, want string
		ambiguous  bool
	}{
		{line: "GET /clusters/root/api?x=%2F", want: "/clusters/root/api"},
		{line: "GET /a%2fb/%7Ec/|^\"/ü", want: "/a%2fb/%7Ec/|^\"/ü"},
		{line: "GET //x", want: "//x"},
		{line: "GET https://front/clusters/root?watch=1", want: "/clusters/root"},
		{line: "GET https://front:8443/a%2Fb", want: "/a%2Fb"},
		{line: "GET https://front", ambiguous: true},
		{line: "GET https://user@front/a", ambiguous: true},
		{line: "OPTIONS *", ambiguous: true},
		{line: "CONNECT shard:6443", ambiguous: true},
		{line: "CONNECT /clusters/root:ws/api", ambiguous: true},
		{line: "TRACE /clusters/root:ws/api", ambiguous: true},
		{line: "GET /a#b", ambiguous: true},
	} {
		t.Run(tt.line, func(t *testing.T) {
			got, err := RawPath(received(t, tt.line))
			if got != tt.want || errors.Is(err, ErrAmbiguous) != tt.ambiguous {
				t.Errorf("RawPath = %q, %v; want %q, ambiguous %v", got, err, tt.want, tt.ambiguous)
			}
		})
	}
	t.Run("a raw space, which only HTTP/2 can carry", func(t *testing.T) {
		r := &http.Request{RequestURI: "/a HTTP/1.1", URL: &url.URL{Path: "/a HTTP/1.1"}}
		if _, err := RawPath(r); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("RawPath: %v, want ErrAmbiguous", err)
		}
	})
}

func TestDecodeSegment(t *testing.T) {
	for segment, want := range map[string]string{
		"clusters": "clusters", "%63lusters": "clusters", "a%20b": "a b", "...": "...", "*": "*", "a%3Ab": "a:b", "%252F": "%2F", "ü": "ü",
	} {
		if got, err := DecodeSegment(segment); got != want || err != nil {
			t.Errorf("DecodeSegment(%q) = %q, %v; want %q", segment, got, err, want)
		}
	}
	for _, segment := range []string{"", ".", "..", "%2e", "%2E.", ".%2e", "a%2Fb", "a%2fb", `a\b`, "a%5Cb", "a%5cb", "a%00", "%0d%0a", "%7f", "%zz", "%"} {
		if got, err := DecodeSegment(segment); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("DecodeSegment(%q) = %q, %v; want ErrAmbiguous", segment, got, err)
		}
	}
}

func TestFindClusterAnywhere(t *testing.T) {
	for _, tt := range []struct {
		path, want string
		ambiguous  bool
	}{
		{path: "/services/apiexport/root/name/clusters/root:org/apis", want: "root:org"},
		{path: "/services/x/clusters/a/apis/g/v1/clusters/b", want: "a"},
		{path: "/services/x/clusters/a/clusters/b", ambiguous: true},
		{path: "/services/x/clusters/a/%63lusters%2fb", ambiguous: true},
		{path: "/services/x/clusters/a/%zz/b", ambiguous: true},
		{path: "/services/x/clusters/*/apis", want: "*"},
		{path: "/services/x/%63lusters/root%3Aorg", want: "root:org"},
		{path: "/services/x/clusters/root/api/a%2F..//b/../c%2fd", want: "root"},
		{path: "/services/x/clusters/root/a%2F..//b", ambiguous: true},
		{path: "/services/x/clusters/root//clusters/b", ambiguous: true},
		{path: "/services/x/clusters/root/../b/api", ambiguous: true},
		{path: "/services/x/clusters/root/api/../clusters/b", ambiguous: true},
		{path: "/services/x/clusters/root/api/..%2fclusters/b", ambiguous: true},
		{path: "/services/x/clusters/root/api/%2e%2e/clusters/b", ambiguous: true},
		{path: "/services/x/clusters/root/api/v1/..", want: "root"},
		{path: "/services/x/clusters"},
		{path: "/services/x/clusters/"},
		{path: "/services/x/"},
		{path: "/"},
		{path: ""},
		{path: "/services/../clusters/root", ambiguous: true},
		{path: "/services//clusters/root", ambiguous: true},
		{path: "/services/x/clusters//root", ambiguous: true},
		{path: "/services/x%2Fclusters%2Froot/apis", ambiguous: true},
		{path: `/services/x\clusters\root`, ambiguous: true},
		{path: "/services/x/clusters/%2A/apis", want: "*"},
		{path: "/services/x/clusters/%2Aroot/apis", ambiguous: true},
	} {
		t.Run(tt.path, func(t *testing.T) {
			got, _, err := FindClusterAnywhere(tt.path)
			if got != tt.want || errors.Is(err, ErrAmbiguous) != tt.ambiguous {
				t.Errorf("FindClusterAnywhere = %q, %v; want %q, ambiguous %v", got, err, tt.want, tt.ambiguous)
			}
		})
	}
}

func TestValidateSubpath(t *testing.T) {
	for rest, ambiguous := range map[string]bool{
		"": false, "/": false, "/api": false, "/apis/g/v1//a%2Fb/../clusters/b": false, "/api/services/x": false, "/servicesx/": false, "/metrics/": false,
		"/api/../services/x": true, "/%252e%252e/x": true, "/..;x/y": true, "/api/..": true, "/api/v1/../..": true, "/api/v1/..": false, "/api/v1/%2e%2e/..": true, "/api/proxy/a%2Fb": false, `/api/..\services`: true,
		"/api/..%2fservices": true, "/api/..;x/services": true, "/api/%252e%252e/services": true, "/api/%2525252525252e": true,
		"//": true, "//api": true, "/./api": true, "/%2e/api": true, "/api%2Fv1": true, "/services": true, "/services/x": true, "/%73ervices/x": true,
		"/services%2Fx": true, "/clusters/b": true, "/%63lusters/b": true, "/\\services/x": true,
	} {
		if err := ValidateSubpath(rest); errors.Is(err, ErrAmbiguous) != ambiguous {
			t.Errorf("ValidateSubpath(%q) = %v, want ambiguous %v", rest, err, ambiguous)
		}
	}
}

func TestDecodeCluster(t *testing.T) {
	for segment, want := range map[string]string{"root": "root", "root:org": "root:org", "root%3Aorg%3aws": "root:org:ws", "*": "*", "system:admin": "system:admin"} {
		if got, err := DecodeCluster(segment); got != want || err != nil {
			t.Errorf("DecodeCluster(%q) = %q, %v; want %q", segment, got, err, want)
		}
	}
	for _, segment := range []string{"", "..", "%2e%2e", "root%2Forg", "r%6Fot", "%2A%2A", "root:%2A", "root%253Aorg", "root%"} {
		if got, err := DecodeCluster(segment); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("DecodeCluster(%q) = %q, %v; want ErrAmbiguous", segment, got, err)
		}
	}
}

func TestValid(t *testing.T) {
	long := strings.Repeat("a", 63)
	good := []string{"root", "root:org", "2kd9abc", "user:alice:ws", long, long + ":" + long, "a-b", "system"}
	bad := []string{"", "*", "system:admin", "system:", "Root", "root:", ":root", "a::b", "-a", "a-", long + "a", "a_b", "a.b", "ü", "root:*", "a/b"}
	got := map[string]bool{}
	want := map[string]bool{}
	for _, c := range good {
		want[c] = true
	}
	for _, c := range bad {
		want[c] = false
	}
	for c := range want {
		got[c] = ValidateClusterPath(c) == nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("valid clusters (-want +got):\n%s", diff)
	}
}

// FuzzPath holds what is said of a path against the way a Go server, and so a
// shard, reads it.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/clusters/root/api", "/services/x/clusters/root%3Aorg/a%2Fb", "//", "/a/../clusters/b", "/%63lusters/x", `/a\clusters\b`, "/clusters/%2e%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		path, err := RawPath(&http.Request{Method: http.MethodGet, RequestURI: target, URL: u})
		if err != nil {
			return
		}
		if decoded, err := url.PathUnescape(path); err != nil || decoded != u.Path {
			t.Fatalf("RawPath(%q) = %q decodes to %q, a server reads %q", target, path, decoded, u.Path)
		}
		cluster, inside, err := FindClusterAnywhere(path)
		if err != nil {
			return
		}
		// What a server makes of the decoded path must name the same cluster.
		_, after, found := strings.Cut(u.Path, "/clusters/")
		if seen, rest, _ := strings.Cut(after, "/"); seen != cluster && (found || cluster != "") {
			t.Fatalf("FindClusterAnywhere(%q) = %q, a server sees %q", path, cluster, seen)
		} else if decoded, _ := url.PathUnescape(inside); cluster != "" && decoded != after[len(seen):] {
			t.Fatalf("FindClusterAnywhere(%q) = %q and %q, a server sees %q", path, cluster, inside, rest)
		}
	})
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{"root", "root:org", "system:admin", "*", "a::b", "", "-", "a-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cluster string) {
		// A "$" also matches before a line's end in no mode that logicalcluster uses.
		want := logicalcluster.NewPath(cluster).IsValid() && cluster != Wildcard && !strings.HasPrefix(cluster, "system:")
		if got := ValidateClusterPath(cluster) == nil; got != want {
			t.Fatalf("Valid(%q) = %v, logicalcluster and the proxy's own rules say %v", cluster, got, want)
		}
	})
}
