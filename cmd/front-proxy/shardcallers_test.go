package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

const (
	scopesHeader      = "X-Remote-Extra-Authentication.kcp.io%2fscopes"
	clusterNameHeader = "X-Remote-Extra-Authentication.kcp.io%2fcluster-name"
	warrantHeader     = "X-Remote-Extra-Authorization.kcp.io%2fwarrant"

	vwPath = "/services/replication/x/clusters/*/apis"
)

// callersWorld is a proxy that believes two shards about their callers: root by
// caller-root, root-1 by caller-root-1. Both is a name that is listed as root's
// client, too.
type callersWorld struct {
	*runningProxy
	audit, debug string
}

func newCallersWorld(t *testing.T) *callersWorld {
	t.Helper()
	k := newKCP(t)
	addShard(t, k, "root-1")
	w := &callersWorld{audit: filepath.Join(t.TempDir(), "audit.log"), debug: "unix://" + filepath.Join(t.TempDir(), "debug.sock")}
	args, url := arguments(t, k)
	w.runningProxy = startProxy(t, k, url, append(args, "--shard-virtual-workspaces", "--requestheader-client-ca-file="+k.RequestHeaderCA.File,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--shard-caller-common-names=root=caller-root,root-1=caller-root-1,root=both", "--shard-client-common-names=root=both",
		"--audit-policy-file="+file(t, "policy.yaml", []byte(auditPolicy)), "--audit-log-path="+w.audit, "--debug-address="+w.debug))
	return w
}

// as is a client with a certificate of the CA.
func (w *callersWorld) as(ca *harness.CA, name string, groups ...string) *http.Client {
	w.t.Helper()
	pair, err := ca.Client(w.t.(*testing.T).TempDir(), name, groups...)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.clientSending(tlsCertificate(w.t.(*testing.T), pair))
}

// send asks with headers exactly as they are spelt here.
func (w *callersWorld) send(c *http.Client, path string, header http.Header) (int, standin.WhoAmI, string) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = header.Clone()
	resp, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var me standin.WhoAmI
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &me); err != nil {
			w.t.Fatal(err)
		}
	}
	return resp.StatusCode, me, string(body)
}

// with is header with some of it replaced; nil removes.
func with(header, changes http.Header) http.Header {
	out := header.Clone()
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// TestCallersKeepTheirIdentityThroughAShard: what a listed shard asserts at its own
// virtual workspaces arrives unchanged; whatever else asserts is cleared or refused.
func TestCallersKeepTheirIdentityThroughAShard(t *testing.T) {
	w := newCallersWorld(t)
	k := w.kcp
	listed, other := w.as(k.RequestHeaderCA, "caller-root"), w.as(k.RequestHeaderCA, "caller-root-1")
	alice := http.Header{
		"X-Remote-User": {"alice"}, "X-Remote-Group": {"zebras", "apes"}, "X-Remote-Uid": {"alice-uid"},
		scopesHeader: {"cluster:c1", "cluster:c1,cluster:c2"}, clusterNameHeader: {"c1"}, "X-Remote-Extra-Tier": {"gold"},
		warrantHeader: {`{"user":"bob","groups":["devs"],"extra":{"authorization.kcp.io/warrant":["{\"user\":\"carol\"}"]}}`},
	}
	unchanged := standin.WhoAmI{
		User: "alice", UID: "alice-uid", Groups: []string{"zebras", "apes"},
		Extra: map[string][]string{
			"authentication.kcp.io/scopes": alice[scopesHeader], "authentication.kcp.io/cluster-name": {"c1"}, "tier": {"gold"}, "authorization.kcp.io/warrant": alice[warrantHeader],
		},
	}
	lower := http.Header{}
	for key, values := range alice {
		lower[strings.ToLower(key)] = values
	}
	mixed := http.Header{}
	for key, values := range alice {
		mixed[strings.ToUpper(key[:9])+strings.ToLower(key[9:])] = values
	}
	asShard := func(name string, groups ...string) standin.WhoAmI { return standin.WhoAmI{User: name, Groups: groups} }
	atRoot, atRoot1 := "/shards/root"+vwPath, "/shards/root-1"+vwPath
	for name, tc := range map[string]struct {
		client *http.Client
		path   string
		header http.Header
		want   *standin.WhoAmI // nil: refused
	}{
		"listed for the shard":             {listed, atRoot, alice, &unchanged},
		"the other one, at its own shard":  {other, atRoot1, alice, &unchanged},
		"lower case":                       {listed, atRoot, lower, &unchanged},
		"mixed case":                       {listed, atRoot, mixed, &unchanged},
		"a caller with nothing but a name": {listed, atRoot, http.Header{"X-Remote-User": {"alice"}}, new(asShard("alice"))},
		"anonymous":                        {listed, atRoot, http.Header{"X-Remote-User": {"system:anonymous"}, "X-Remote-Group": {"system:unauthenticated"}}, new(asShard("system:anonymous", "system:unauthenticated"))},
		"another shard's route":            {listed, atRoot1, alice, nil},
		"a shard whose name begins alike":  {other, atRoot, alice, nil},
		"a workspace's path":               {listed, "/clusters/root/api", alice, nil},
		"no headers":                       {listed, atRoot, http.Header{}, nil},
		"another certificate of the CA, which asserts as ever, groups filtered": {w.as(k.RequestHeaderCA, "caller-root2"), atRoot, http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"system:masters", "devs"}}, new(asShard("alice", "devs", "system:authenticated"))},
		"a user's certificate with the same name":                               {w.as(k.ClientCA, "caller-root"), atRoot, alice, new(asShard("caller-root", "system:authenticated"))},
		"a listed client with the same name":                                    {w.as(k.ClientCA, "both", "system:masters"), atRoot, alice, new(asShard("both", "system:authenticated", "system:masters"))},
		"listed in both ways, as a caller":                                      {w.as(k.RequestHeaderCA, "both", "system:masters"), atRoot, alice, &unchanged},
		"listed in both ways, without headers":                                  {w.as(k.RequestHeaderCA, "both", "system:masters"), atRoot, http.Header{}, nil},

		"no user name":                           {listed, atRoot, with(alice, http.Header{"X-Remote-User": nil}), nil},
		"an empty user name":                     {listed, atRoot, with(alice, http.Header{"X-Remote-User": {""}}), nil},
		"two user names":                         {listed, atRoot, with(alice, http.Header{"X-Remote-User": {"alice", "bob"}}), nil},
		"two UIDs":                               {listed, atRoot, with(alice, http.Header{"X-Remote-Uid": {"1", "2"}}), nil},
		"an empty group":                         {listed, atRoot, with(alice, http.Header{"X-Remote-Group": {"devs", ""}}), nil},
		"scopes only":                            {listed, atRoot, http.Header{scopesHeader: {"cluster:c1"}}, nil},
		"a header with underscores":              {listed, atRoot, with(alice, http.Header{scopesHeader: nil, "X_Remote_Extra_authentication.kcp.io%2fscopes": {"cluster:c1"}}), nil},
		"an extra key without a name":            {listed, atRoot, with(alice, http.Header{"X-Remote-Extra-": {"x"}}), nil},
		"an extra key that is not encoded right": {listed, atRoot, with(alice, http.Header{"X-Remote-Extra-A%zz": {"x"}}), nil},
		"an extra key of control characters":     {listed, atRoot, with(alice, http.Header{"X-Remote-Extra-A%0ab": {"x"}}), nil},
		"an extra key with a capital":            {listed, atRoot, with(alice, http.Header{"X-Remote-Extra-%41": {"x"}}), nil},
		"an extra key in two spellings":          {listed, atRoot, with(alice, http.Header{"X-Remote-Extra-Authentication%2ekcp.io%2fscopes": {"cluster:c3"}}), nil},
		"an invisible character":                 {listed, atRoot, with(alice, http.Header{"X-Remote-User": {"ali\u200bce"}}), nil},
		"a service account of no workspace":      {listed, atRoot, with(alice, http.Header{"X-Remote-User": {"system:serviceaccount:default:bot"}, clusterNameHeader: nil}), nil},
		"system:masters":                         {listed, atRoot, with(alice, http.Header{"X-Remote-Group": {"devs", "system:masters"}}), nil},
		"System:Masters":                         {listed, atRoot, with(alice, http.Header{"X-Remote-Group": {"System:Masters"}}), nil},
		"a logical cluster's administrator":      {listed, atRoot, with(alice, http.Header{"X-Remote-Group": {"system:kcp:logical-cluster-admin"}}), nil},
		"an initializer":                         {listed, atRoot, with(alice, http.Header{"X-Remote-Group": {"system:kcp:initializer:root:x"}}), nil},
		"a warrant for system:masters":           {listed, atRoot, with(alice, http.Header{warrantHeader: {`{"user":"x","groups":["system:masters"]}`}}), nil},
		"a warrant in a warrant": {listed, atRoot, with(alice, http.Header{warrantHeader: {
			`{"user":"x","extra":{"authorization.kcp.io/warrant":["{\"user\":\"y\",\"groups\":[\"system:masters\"]}"]}}`}}), nil},
		"a warrant that is no JSON": {listed, atRoot, with(alice, http.Header{warrantHeader: {`{"user":`}}), nil},
	} {
		http1 := *tc.client
		transport := tc.client.Transport.(*http.Transport).Clone()
		transport.ForceAttemptHTTP2, transport.TLSNextProto, transport.TLSClientConfig.NextProtos = false, map[string]func(string, *tls.Conn) http.RoundTripper{}, nil
		t.Cleanup(transport.CloseIdleConnections)
		http1.Transport = transport
		for protocol, client := range map[string]*http.Client{"HTTP/1.1": &http1, "HTTP/2": tc.client} {
			w.check(t, name+" by "+protocol, client, tc.path, tc.header, tc.want)
		}
	}
}

// check that the virtual workspace reads the identity; nil: that the request is
// refused.
func (w *callersWorld) check(t *testing.T, name string, client *http.Client, path string, header http.Header, want *standin.WhoAmI) {
	t.Run(name, func(t *testing.T) {
		code, me, body := w.send(client, path, header)
		if want == nil {
			if code != http.StatusUnauthorized {
				t.Errorf("answered %d %s, as %s with groups %q; want 401", code, body, me.User, me.Groups)
			}
			return
		}
		delete(me.Extra, "authentication.kubernetes.io/credential-id") // of certificates that are themselves
		got := standin.WhoAmI{User: me.User, UID: me.UID, Groups: me.Groups, Extra: me.Extra}
		if diff := cmp.Diff(*want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("answered %d %s; the virtual workspace reads (-want +got):\n%s", code, body, diff)
		}
	})
}

// TestShardAndCallerAreNamed by the audit log and by explain.
func TestShardAndCallerAreNamed(t *testing.T) {
	w := newCallersWorld(t)
	caller := w.as(w.kcp.RequestHeaderCA, "caller-root")
	path := "/shards/root" + vwPath
	if code, _, body := w.send(caller, path, http.Header{"X-Remote-User": {"alice"}}); code != http.StatusOK {
		t.Fatalf("answered %d %s", code, body)
	}
	if code, _, _ := w.send(caller, path, http.Header{"X-Remote-User": {"mallory"}, "X-Remote-Group": {"system:masters"}}); code != http.StatusUnauthorized {
		t.Fatalf("system:masters is answered %d", code)
	}
	pair, err := w.kcp.RequestHeaderCA.Client(t.TempDir(), "caller-root")
	if err != nil {
		t.Fatal(err)
	}
	for asserted, parts := range map[string][]string{
		`{"username": "alice", "groups": ["devs"]}`:   {`Forwarded as: alice, groups ["devs"]`, `asserted by shard root, whose certificate is "caller-root"`, "shard-caller accepted"},
		"username: mallory\ngroups: [system:masters]": {"refused (401)", `shard certificate "caller-root"`, `caller "mallory"`, "system:masters", "virtual workspaces root"},
	} {
		var out strings.Builder
		if err := run(t.Context(), []string{"explain", "--debug-address=" + w.debug, "--path=" + path, "--certificate-file=" + pair.CertFile,
			"--asserted-file=" + file(t, "asserted.yaml", []byte(asserted))}, &out); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(out.String(), part) {
				t.Errorf("explain of %s lacks %q:\n%s", asserted, part, out.String())
			}
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	log, err := os.Open(w.audit)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	for s := bufio.NewScanner(log); s.Scan(); {
		var e auditv1.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Stage == auditv1.StageResponseComplete && strings.HasPrefix(e.RequestURI, path) {
			a := e.Annotations
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", e.User.Username, a["front-proxy.kcp.io/asserted-by"], a["front-proxy.kcp.io/decision"], a["front-proxy.kcp.io/reasons"]))
		}
	}
	want := []string{
		"alice root=caller-root admitted: ",
		`  refused: shard-caller: shard certificate "caller-root" asserts a caller: caller "mallory": group "system:masters" skips authorization, so no shard may assert it`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// TestShardCallersAtTheStart: lists that would let a shard assert more are refused.
func TestShardCallersAtTheStart(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	rh := []string{"--requestheader-client-ca-file=" + k.RequestHeaderCA.File, "--requestheader-username-headers=X-Remote-User"}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"every shard":                  {append(rh, "--shard-virtual-workspaces", "--shard-caller-common-names=caller"), "must be shard=name"},
		"no name":                      {append(rh, "--shard-virtual-workspaces", "--shard-caller-common-names=root="), "must be shard=name"},
		"no route":                     {append(rh, "--shard-caller-common-names=root=caller"), "--shard-virtual-workspaces"},
		"no CA":                        {[]string{"--shard-virtual-workspaces", "--shard-caller-common-names=root=caller"}, "needs --requestheader-client-ca-file"},
		"a proxy that asserts anybody": {append(rh, "--shard-virtual-workspaces", "--shard-caller-common-names=root=caller", "--requestheader-allowed-names=proxy,caller"), "--requestheader-allowed-names"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			args, _ := arguments(t, k)
			if err := run(t.Context(), append(args, tc.args...), &out); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("starts with %v, want %q", err, tc.want)
			}
		})
	}
}
