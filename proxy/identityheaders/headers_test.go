package identityheaders

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
)

// spellings are ways to write a header name that some reader folds into it.
func spellings(name string) []string {
	return []string{http.CanonicalHeaderKey(name), strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(strings.ToLower(name), "-", "_", 1)}
}

func TestClear(t *testing.T) {
	h, other := New("X-Who", "X-Team", "X-More-", "X-Id"), New("X-Theirs", "X-Their-Groups", "X-Their-Extra-", "")
	h.AlsoClear(other)
	gone := slices.Concat(assertingHeaders, requestHeaders, []string{DefaultUser, DefaultGroup, DefaultUID, DefaultExtra, DefaultExtra + "foo",
		"X-Who", "X-Team", "X-Id", "X-More-foo", "X-Theirs", "X-Their-Groups", "X-Their-Extra-a%2fb"})
	for _, prefix := range assertingPrefixes {
		gone = append(gone, prefix+"x")
	}
	header := http.Header{}
	for _, name := range gone {
		for _, spelling := range spellings(name) {
			header[spelling] = []string{"a client's word"}
		}
	}
	stays := http.Header{"X-Whose": {"1"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"for=1.2.3.4"}, "X-Request-Id": {"7"}, "X-Method": {"x"}, "Authorization": {"Bearer x"}}
	for name, values := range stays {
		header[name] = values
	}
	h.Clear(header)
	if diff := cmp.Diff(stays, header); diff != "" {
		t.Errorf("what stays (-want +got):\n%s", diff)
	}
}

func TestSet(t *testing.T) {
	u := &user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"a", "b"}, Extra: map[string][]string{"A/b": {"1", "2"}, "authentication.kcp.io/scopes": {"s"}, "none": {}}}
	usual := New(DefaultUser, DefaultGroup, DefaultExtra, "")
	set := http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"a", "b"}, "X-Remote-Extra-%41%2fb": {"1", "2"}, "X-Remote-Extra-authentication.kcp.io%2fscopes": {"s"}}
	withUID := set.Clone()
	withUID["X-Remote-Uid"] = []string{"u1"}
	for _, tt := range []struct {
		name string
		set  func(http.Header)
		want http.Header
	}{
		{"without a header for UIDs", func(h http.Header) { usual.Set(h, u) }, set},
		{"unchanged", func(h http.Header) { usual.SetUnchanged(h, u) }, withUID},
		{"with a header for UIDs", func(h http.Header) { New(DefaultUser, DefaultGroup, DefaultExtra, DefaultUID).Set(h, u) }, withUID},
		{"no groups, UID or extras", func(h http.Header) { usual.SetUnchanged(h, &user.DefaultInfo{Name: "bob"}) }, http.Header{"X-Remote-User": {"bob"}}},
		{"other names", func(h http.Header) {
			New("x-who", "x-team", "x-more-", "x-id").Set(h, &user.DefaultInfo{Name: "bob", UID: "u2", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}})
		}, http.Header{"X-Who": {"bob"}, "X-Team": {"g"}, "X-Id": {"u2"}, "X-More-k": {"v"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := http.Header{}
			tt.set(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDropCredentials(t *testing.T) {
	header := http.Header{"authorization": {"Bearer x"}, "Authorization": {"Bearer y"}, "X-Kept": {"1"},
		"Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io", "v5.channel.k8s.io"}}
	DropCredentials(header)
	if diff := cmp.Diff(http.Header{"X-Kept": {"1"}, "Sec-Websocket-Protocol": {"v4.channel.k8s.io, v5.channel.k8s.io"}}, header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestEncodeExtraKey reads every byte back as a shard does.
func TestEncodeExtraKey(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	encoded := encodeExtraKey(string(all))
	h := http.Header{}
	h.Add(DefaultExtra+encoded, "v") // canonicalised
	h.Add(DefaultUser, "alice")
	shard, err := headerrequest.New([]string{DefaultUser}, []string{DefaultUID}, []string{DefaultGroup}, []string{DefaultExtra})
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := shard.AuthenticateRequest(&http.Request{Header: h})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if diff := cmp.Diff(map[string][]string{string(all): {"v"}}, got.User.GetExtra()); diff != "" {
		t.Errorf("extra (-want +got):\n%s", diff)
	}
}
