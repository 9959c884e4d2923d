package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// kcpFlags are kcp-front-proxy's flags (v0.31.2 and, last, newer ones) with
// the defaults its --help shows; "" is no default shown.
var kcpFlags = map[string]string{
	"secure-port": "443", "bind-address": "0.0.0.0", "cert-dir": "", "tls-cert-file": "", "tls-private-key-file": "", "tls-sni-cert-key": "[]",
	"tls-cipher-suites": "[]", "tls-min-version": "", "disable-http2-serving": "false", "http2-max-streams-per-connection": "0",
	"permit-address-sharing": "false", "permit-port-sharing": "false",
	"mapping-file": "", "shards-kubeconfig": "", "root-kubeconfig": "", "root-directory": ".kcp", "profiler-address": "", "cors-allowed-origins": "[]",
	"client-ca-file": "", "requestheader-client-ca-file": "", "requestheader-allowed-names": "[]", "requestheader-username-headers": "[]",
	"requestheader-uid-headers": "[]", "requestheader-group-headers": "[]", "requestheader-extra-headers-prefix": "[]",
	"oidc-issuer-url": "", "oidc-client-id": "", "oidc-ca-file": "", "oidc-username-claim": "sub", "oidc-username-prefix": "", "oidc-groups-claim": "",
	"oidc-groups-prefix": "", "oidc-required-claim": "[]", "oidc-signing-algs": "[RS256]", "authentication-config": "",
	"authentication-token-webhook-config-file": "", "authentication-token-webhook-version": "v1beta1", "authentication-token-webhook-cache-ttl": "2m0s",
	"token-auth-file": "", "api-audiences": "[]", "service-account-key-file": "[]", "service-account-lookup": "true",
	"service-account-issuer": "[https://kcp.default.svc]", "service-account-jwks-uri": "", "service-account-max-token-expiration": "0s",
	"service-account-extend-token-expiration": "true", "authentication-pass-on-groups": "[]",
	"authentication-drop-groups": "[system:masters,system:kcp:logical-cluster-admin,system:kcp:initializer:*,system:kcp:terminator:*]",
	"feature-gates":              "", "logging-format": "text", "v": "2", "vmodule": "", "log-flush-frequency": "5s", "log-json-info-buffer-size": "0",
	"log-json-split-stream": "false", "log-text-info-buffer-size": "0", "log-text-split-stream": "false", "help": "false", "version": "false",
	"tls-curve-preferences": "[]", "anonymous-auth": "false", "shard-peer-kubeconfig": "[]",
}

// parse parses the arguments of the server.
func parse(args []string) (*options, error) {
	o := newOptions()
	c := newServer(o, o.flags())
	c.RunE = func(c *cobra.Command, _ []string) error { o.read(c.Flags()); return nil }
	c.SetArgs(append([]string{}, args...))
	return o, c.Execute()
}

func TestFlagsAreKcpFrontProxys(t *testing.T) {
	all := newCommand(io.Discard).Flags()
	for name, want := range kcpFlags {
		f := all.Lookup(name)
		if f == nil {
			t.Errorf("--%s is unknown", name)
			continue
		}
		if f.DefValue != want {
			t.Errorf("--%s defaults to %q, want %q", name, f.DefValue, want)
		}
	}
	if all.Lookup("mapping_file") != all.Lookup("mapping-file") {
		t.Error("_ is not - in a flag")
	}
	all.VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("--%s has no help", f.Name)
		}
	})
}

func TestGroupList(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		want   []string
		quoted bool
	}{
		"default":                  {nil, []string{"system:masters", "system:kcp:logical-cluster-admin", "system:kcp:initializer:*", "system:kcp:terminator:*"}, false},
		"replaced":                 {[]string{"--authentication-drop-groups=a,b"}, []string{"a", "b"}, false},
		"repeated":                 {[]string{"--authentication-drop-groups=a", "--authentication_drop_groups=b"}, []string{"a", "b"}, false},
		"none":                     {[]string{"--authentication-drop-groups="}, []string{}, false},
		"the operator's quotes":    {[]string{`--authentication-drop-groups="g1,g2"`}, []string{"g1", "g2"}, true},
		"quotes around one group":  {[]string{`--authentication-drop-groups="g1"`}, []string{"g1"}, false},
		"quotes around some of it": {[]string{`--authentication-drop-groups=g0,"g1,g2"`}, []string{"g0", "g1", "g2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(tc.args)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, o.auth.groups.drop); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, quoted := o.auth.groups.quoted["--authentication-drop-groups"]; quoted != tc.quoted {
				t.Errorf("quoted: got %t", quoted)
			}
		})
	}
}

func TestGates(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		on   map[string]bool
		err  string
	}{
		"defaults":               {nil, map[string]bool{gateWorkspaceAuthentication: false, gateWorkspaceTokenAPIAudiences: true, gateWorkspaceTokenReviews: false}, ""},
		"on":                     {[]string{"--feature-gates=WorkspaceAuthentication=true"}, map[string]bool{gateWorkspaceAuthentication: true}, ""},
		"AllAlpha":               {[]string{"--feature-gates=AllAlpha=true"}, map[string]bool{gateWorkspaceAuthentication: true, gateWorkspaceTokenReviews: true}, ""},
		"AllAlpha, but this one": {[]string{"--feature-gates=AllAlpha=true,WorkspaceAuthentication=false"}, map[string]bool{gateWorkspaceAuthentication: false}, ""},
		"AllBeta off":            {[]string{"--feature-gates=AllBeta=false"}, map[string]bool{gateWorkspaceTokenAPIAudiences: false}, ""},
		"kcp's and Kubernetes'": {[]string{"--feature-gates=WorkspaceMounts=true, CacheAPIs=true", "--feature-gates=WatchList=true,ContextualLogging=false"},
			map[string]bool{gateWorkspaceAuthentication: false}, ""},
		"unknown":    {[]string{"--feature-gates=LogicalClusterMigration=true,OfTomorrow=false"}, map[string]bool{gateWorkspaceAuthentication: false}, ""},
		"no name":    {[]string{"--feature-gates==true"}, nil, "Name=true or Name=false"},
		"no value":   {[]string{"--feature-gates=WorkspaceAuthentication"}, nil, "Name=true or Name=false"},
		"not a bool": {[]string{"--feature-gates=WorkspaceAuthentication=on"}, nil, "Name=true or Name=false"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(tc.args)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "--feature-gates") {
					t.Fatalf("got %v, want an error with %q that names the flag", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for gate, want := range tc.on {
				if got := o.gates.enabled(gate); got != want {
					t.Errorf("%s: got %t", gate, got)
				}
			}
		})
	}
	if !slices.IsSorted(gateNames()) {
		t.Error("ourGates are not sorted")
	}
}

// TestGatesWithoutEffect: gates of kcp's that nobody here knows are no error,
// in newer kcp as in older, and one warning names them.
func TestGatesWithoutEffect(t *testing.T) {
	for name, tc := range map[string]struct{ value, want string }{
		"none":                {"", ""},
		"ours":                {"WorkspaceAuthentication=true,AllAlpha=false,AllBeta=true,ServiceAccountWorkspaceOwners=true", ""},
		"kcp's":               {"LogicalClusterMigration=true,CacheAPIs=false", "CacheAPIs, LogicalClusterMigration"},
		"one near an old one": {"GlobalServiceAccount=true", "GlobalServiceAccount"},
		"one of ours, almost": {"WorkspaceAuthentification=true,CacheAPIs=true", "CacheAPIs, WorkspaceAuthentification (did you mean WorkspaceAuthentication?)"},
		"in lower case":       {"workspacetokenapiaudiences=false", "workspacetokenapiaudiences (did you mean WorkspaceTokenAPIAudiences?)"},
		"letters missing":     {"ServiceAccountWorkspaceOwner=true", "ServiceAccountWorkspaceOwner (did you mean ServiceAccountWorkspaceOwners?)"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse([]string{"--feature-gates=" + tc.value})
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			o.notices(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
			var want []string
			if tc.want != "" {
				want = []string{fmt.Sprintf("%q=0 %q=%q", "level", "msg", "--feature-gates: these have no effect here: "+tc.want)}
			}
			if !slices.Equal(lines, want) {
				t.Errorf("logged %q, want %q", lines, want)
			}
		})
	}
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"abcd", "bcd", 1}, {"ab", "ba", 2}} {
		if got := edits(tc.a, tc.b); got != tc.want {
			t.Errorf("from %q to %q: %d edits, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"--mapping-file=" + file, "--shards-kubeconfig=" + file}
	for name, tc := range map[string]struct {
		args []string
		want []string // parts of the error; nil: valid
	}{
		"enough":                       {good, nil},
		"nothing":                      {nil, []string{"--mapping-file is required", "--shards-kubeconfig is required"}},
		"missing file":                 {[]string{"--mapping-file=" + file, "--shards-kubeconfig=/nowhere/x"}, []string{"--shards-kubeconfig: open /nowhere/x: no such file"}},
		"missing service account key":  {append(good, "--service-account-key-file=/nowhere/k"), []string{"--service-account-key-file: open /nowhere/k"}},
		"old TLS":                      {append(good, "--tls-min-version=VersionTLS11"), []string{"--tls-min-version", "VersionTLS12"}},
		"half a key pair":              {append(good, "--tls-cert-file="+file), []string{"--tls-private-key-file", "only one is set"}},
		"port":                         {append(good, "--secure-port=70000"), []string{"--secure-port 70000"}},
		"no port":                      {append(good, "--secure-port=0"), []string{"--secure-port=0"}},
		"curve":                        {append(good, "--tls-curve-preferences=12"), []string{"--tls-curve-preferences", "12", "29 for X25519"}},
		"curves":                       {append(good, "--tls-curve-preferences=4588,29,23"), nil},
		"requestheader without names":  {append(good, "--requestheader-client-ca-file="+file), []string{"--requestheader-username-headers"}},
		"requestheader without CA":     {append(good, "--requestheader-username-headers=X-Remote-User"), []string{"--requestheader-client-ca-file"}},
		"half of OIDC":                 {append(good, "--oidc-issuer-url=https://x"), []string{"--oidc-client-id"}},
		"webhook version":              {append(good, "--authentication-token-webhook-version=v2"), []string{"--authentication-token-webhook-version"}},
		"negative time":                {append(good, "--shutdown-delay-duration=-1s"), []string{"--shutdown-delay-duration"}},
		"bad CIDR":                     {append(good, "--workspace-egress-deny-cidrs=10.0.0.0"), []string{"--workspace-egress-deny-cidrs", `"10.0.0.0" is not a CIDR`}},
		"NAT64 of IPv4":                {append(good, "--workspace-egress-nat64-prefixes=10.0.0.0/32"), []string{"--workspace-egress-nat64-prefixes", "10.0.0.0/32 is not a NAT64 prefix"}},
		"NAT64 of another length":      {append(good, "--workspace-egress-nat64-prefixes=2001:db8::/44"), []string{"--workspace-egress-nat64-prefixes", "2001:db8::/44 is not a NAT64 prefix"}},
		"a balancer that is no CIDR":   {append(good, "--proxy-protocol-trusted-cidrs=10.0.0.1"), []string{"--proxy-protocol-trusted-cidrs", `"10.0.0.1" is not a CIDR`}},
		"a mapped balancer":            {append(good, "--proxy-protocol-trusted-cidrs=::ffff:10.0.0.0/104"), []string{"--proxy-protocol-trusted-cidrs", "would match nothing"}},
		"a negative rate":              {append(good, "--workspace-requests-per-second=-1"), []string{"--workspace-requests-per-second=-1", "must be positive, or 0"}},
		"a rate that is no number":     {append(good, "--address-requests-per-second=NaN"), []string{"--address-requests-per-second=NaN", "must be positive, or 0"}},
		"an endless rate":              {append(good, "--identity-requests-per-second=Inf"), []string{"--identity-requests-per-second=+Inf", "must be positive, or 0"}},
		"a burst that lets none pass":  {append(good, "--identity-requests-burst=0"), []string{"--identity-requests-burst=0", "--identity-requests-per-second=0"}},
		"mapped CIDR":                  {append(good, "--workspace-egress-deny-cidrs=::ffff:10.0.0.0/104"), []string{"--workspace-egress-deny-cidrs", `"::ffff:10.0.0.0/104" would match nothing`}},
		"mapped CIDR, allowed":         {append(good, "--workspace-egress-allow-cidrs=::ffff:0:0/96"), []string{"--workspace-egress-allow-cidrs", "write IPv4 ranges as IPv4"}},
		"flag without effect is valid": {append(good, "--anonymous-auth=true"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(tc.args)
			if err != nil {
				t.Fatal(err)
			}
			err = o.validate()
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for arg, want := range map[string]string{"--no-such-flag": "--no-such-flag", "--secure-port=x": "--secure-port"} {
		if _, err := parse([]string{arg}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%s: got %v", arg, err)
		}
	}
}
