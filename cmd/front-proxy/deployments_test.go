package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// The argument lists and mounted files here are those that kcp's own means of
// installation make, as of
//
//   - kcp-dev/kcp-operator, internal/resources/compiledfrontproxy/deployment.go
//     at 4d6736d0f202 and secrets.go at 4eef61068ee2 (peers); the authentication
//     arguments as internal/resources/utils/authentication_test.go asserts them
//     (OIDC 938a027bfb11; webhook, token file and service accounts in the later
//     version beside compiledfrontproxy); before mount re-entry:
//     internal/resources/frontproxy/deployment.go at 889c0770742e.
//   - kcp-dev/helm-charts, charts/kcp/templates/front-proxy-deployment.yaml at
//     a4f4ffe335db and front-proxy-configmap.yaml at e818463611c3.
//   - kcp-dev/helm-charts, charts/proxy/templates/front-proxy-deployment.yaml at
//     00193cec56e2, front-proxy-configmap.yaml and front-proxy-kubeconfig.yaml at
//     8d9feb955ef4. (There its shards kubeconfig names a server; here it does
//     not, which kcp-front-proxy takes too.)

// The operator's arguments for every front-proxy.
var operatorArgs = []string{
	"--secure-port=6443",
	"--root-kubeconfig=/etc/kcp-front-proxy/kubeconfig/kubeconfig",
	"--shards-kubeconfig=/etc/kcp-front-proxy/kubeconfig/kubeconfig",
	"--tls-private-key-file=/etc/kcp-front-proxy/tls/tls.key",
	"--tls-cert-file=/etc/kcp-front-proxy/tls/tls.crt",
	"--mapping-file=/etc/kcp-front-proxy/config/path-mapping.yaml",
	"--client-ca-file=/etc/kcp-front-proxy/client-ca/tls.crt",
}

// The operator's arguments for image tags that know mount re-entry.
var operatorMountArgs = []string{
	"--requestheader-client-ca-file=/etc/kcp/tls/ca/requestheader-client-ca/tls.crt",
	"--requestheader-allowed-names=kcp-front-proxy,kcp-mounts-proxy",
	"--requestheader-username-headers=X-Remote-User",
	"--requestheader-group-headers=X-Remote-Group",
	"--requestheader-extra-headers-prefix=X-Remote-Extra-",
}

var chartKCPArgs = []string{
	"--secure-port=8443",
	"--root-kubeconfig=/etc/kcp-front-proxy/kubeconfig/kubeconfig",
	"--shards-kubeconfig=/etc/kcp-front-proxy/kubeconfig/kubeconfig",
	"--tls-private-key-file=/etc/kcp-front-proxy/tls/tls.key",
	"--tls-cert-file=/etc/kcp-front-proxy/tls/tls.crt",
	"--client-ca-file=/etc/kcp-front-proxy/client-ca/tls.crt",
	"--service-account-key-file=/etc/kcp/tls/service-account/tls.key",
	"--mapping-file=/etc/kcp-front-proxy/config/path-mapping.yaml",
	"--v=4",
	"--logging-format=json",
}

var chartProxyArgs = []string{
	"--secure-port=8443",
	"--root-kubeconfig=/etc/kcp-front-proxy/kubeconfig/kubeconfig",
	"--shards-kubeconfig=/etc/kcp-front-proxy/shards/kubeconfig",
	"--tls-private-key-file=/etc/kcp-front-proxy/tls/tls.key",
	"--tls-cert-file=/etc/kcp-front-proxy/tls/tls.crt",
	"--client-ca-file=/etc/kcp-front-proxy/client-ca/tls.crt",
	"--requestheader-client-ca-file=/etc/kcp/tls/requestheader-client-ca/tls.crt",
	"--requestheader-allowed-names=kcp-mounts-proxy",
	"--requestheader-username-headers=X-Remote-User",
	"--requestheader-group-headers=X-Remote-Group",
	"--requestheader-extra-headers-prefix=X-Remote-Extra-",
	"--service-account-key-file=/etc/kcp/tls/service-account/tls.key",
	"--service-account-lookup=false",
	"--mapping-file=/etc/kcp-front-proxy/config/path-mapping.yaml",
	"--v=3",
	"--logging-format=json",
}

// installation is a kcp of two shards and what a deployment's tests need of it.
type installation struct {
	t        *testing.T
	kcp      *standin.KCP
	shard    *standin.Shard // beside root
	accounts [2]harness.KeyPair
	issuer   *issuertest.Issuer
	webhook  *reviewer
	users    map[string]tls.Certificate
}

const (
	rootTeam = "teamonroot000001" // the cluster of root:team, on the root shard
	farTeam  = "teamonshard00001" // the cluster of root:far, on shard-1
)

func newInstallation(t *testing.T) *installation {
	t.Helper()
	k := newKCP(t)
	i := &installation{t: t, kcp: k, shard: addShard(t, k, "shard-1"), users: map[string]tls.Certificate{}}
	k.Root.PutWorkspace("root", "team", rootTeam, "root", "organization", nil)
	k.Root.PutCluster(rootTeam, "root:organization", nil)
	k.Root.PutWorkspace("root", "far", farTeam, "root", "organization", nil)
	i.shard.PutCluster(farTeam, "root:organization", nil)
	for n := range i.accounts {
		i.accounts[n] = keyPair(t, k, fmt.Sprintf("service-account-%d", n))
	}
	i.users["alice"] = i.issue(k.ClientCA.Client(t.TempDir(), "alice", "devs", "system:kcp:admin", "system:masters"))
	i.users["mounts"] = i.issue(k.RequestHeaderCA.Client(t.TempDir(), "kcp-mounts-proxy"))
	i.users["other proxy"] = i.issue(k.RequestHeaderCA.Client(t.TempDir(), "somebody"))
	i.users["expired"] = i.issue(k.ClientCA.ClientUntil(t.TempDir(), "alice", time.Now().Add(-time.Minute), "devs"))
	i.users["expired mounts"] = i.issue(k.RequestHeaderCA.ClientUntil(t.TempDir(), "kcp-mounts-proxy", time.Now().Add(-time.Minute)))
	stranger, err := harness.NewCA(t.TempDir(), "stranger-ca")
	if err != nil {
		t.Fatal(err)
	}
	i.users["stranger"] = i.issue(stranger.Client(t.TempDir(), "alice", "devs"))
	i.users["stranger mounts"] = i.issue(stranger.Client(t.TempDir(), "kcp-mounts-proxy"))
	return i
}

func (i *installation) issue(pair harness.KeyPair, err error) tls.Certificate {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert
}

// client is one with the certificate of that name; "" is one without.
func (i *installation) client(p *runningProxy, name string) *http.Client {
	i.t.Helper()
	if name == "" {
		return p.client()
	}
	cert, ok := i.users[name]
	if !ok {
		i.t.Fatalf("nobody called %q has a certificate", name)
	}
	return p.clientSending(cert)
}

const entryFormat = `- path: %s
  backend: %s
  backend_server_ca: /etc/kcp/tls/ca/tls.crt
  proxy_client_cert: /etc/kcp-front-proxy/requestheader-client/tls.crt
  proxy_client_key: /etc/kcp-front-proxy/requestheader-client/tls.key
`

// kubeconfigText is one with files for its certificates; without a server when it
// is empty.
func kubeconfigText(server, certDir string) []byte {
	if server != "" {
		server = "\n    server: " + server
	}
	return []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: system:admin
  cluster:
    certificate-authority: /etc/kcp/tls/ca/tls.crt%s
contexts:
- name: system:admin
  context: {cluster: system:admin, user: admin}
current-context: system:admin
users:
- name: admin
  user:
    client-certificate: %s/tls.crt
    client-key: %s/tls.key
`, server, certDir, certDir))
}

// pod mounts what every deployment mounts, with a mapping of the paths to root.
func (i *installation) pod(paths ...string) *pod {
	i.t.Helper()
	p, k := newPod(i.t), i.kcp
	serving, err := k.ServingCA.Serving(i.t.TempDir(), "proxy")
	if err != nil {
		i.t.Fatal(err)
	}
	p.pair("/etc/kcp-front-proxy/tls", serving)
	p.pair("/etc/kcp-front-proxy/requestheader-client", k.Forwarding)
	p.pair("/etc/kcp-front-proxy/kubeconfig-client-cert", k.Watching)
	p.mount("/etc/kcp/tls/ca", map[string][]byte{"tls.crt": k.ServingCA.PEM})
	p.mount("/etc/kcp-front-proxy/client-ca", map[string][]byte{"tls.crt": k.ClientCA.PEM})
	p.mount("/etc/kcp-front-proxy/kubeconfig", map[string][]byte{
		"kubeconfig": []byte(p.in(string(kubeconfigText(k.Root.URL, "/etc/kcp-front-proxy/kubeconfig-client-cert")))),
	})
	var mapping strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&mapping, entryFormat, path, k.Root.URL)
	}
	p.mount("/etc/kcp-front-proxy/config", map[string][]byte{"path-mapping.yaml": []byte(p.in(mapping.String()))})
	return p
}

// asserted are the headers of a shard's mounts proxy that acts for carol.
var asserted = http.Header{
	"X-Remote-User": {"carol"}, "X-Remote-Group": {"ops", "system:masters"},
	"X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:" + rootTeam},
}

// Answers that come again and again.
var (
	unauthorized = reply{Code: 401, Reason: "Unauthorized"}
	forbidden    = reply{Code: 403, Reason: "Forbidden"}
	absent       = reply{Code: 404, Reason: "NotFound"}
	undecided    = reply{Code: 503, Reason: "ServiceUnavailable"}
)

// as is what a shard says to path for a user with groups.
func as(shard, path, user string, groups ...string) reply {
	return reply{Code: 200, Shard: shard, Path: path, User: user, Groups: groups}
}

// account is what a shard says for a service account of a cluster.
func account(shard, path, cluster string) reply {
	return reply{Code: 200, Shard: shard, Path: path, User: "system:serviceaccount:default:bot",
		Groups: []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"},
		Extra: map[string][]string{
			"authentication.kcp.io/cluster-name": {cluster}, "authentication.kcp.io/scopes": {"cluster:" + cluster},
		}}
}

// authenticated are a user's groups as forwarded: with system:authenticated,
// sorted.
func authenticated(groups ...string) []string {
	return slices.Sorted(slices.Values(append(groups, "system:authenticated")))
}

// TestDeployments starts the program with the arguments and files of each way
// to install it, as a process, and has it do what they are for.
func TestDeployments(t *testing.T) {
	t.Parallel()
	alice := authenticated("devs", "system:kcp:admin")
	byShard := func(client func(string) *http.Client) []call {
		return []call{
			{name: "user on the root shard", client: client("alice"), path: "/clusters/root:team/api", want: as("root", "/clusters/"+rootTeam+"/api", "alice", alice...)},
			{name: "user on the other shard", client: client("alice"), path: "/clusters/root:far/api", want: as("shard-1", "/clusters/"+farTeam+"/api", "alice", alice...)},
			{name: "services", client: client("alice"), path: "/services/apiexport/x/y/clusters/*/api", want: as("root", "/services/apiexport/x/y/clusters/*/api", "alice", alice...)},
			{name: "unknown workspace", client: client("alice"), path: "/clusters/root:nobody/api", want: forbidden},
			{name: "all clusters", client: client("alice"), path: "/clusters/*/api", want: forbidden},
			{name: "no mapping", client: client("alice"), path: "/api", want: absent},
			{name: "unknown CA", client: client("stranger"), path: "/clusters/root:team/api", want: unauthorized},
		}
	}
	mounts := func(client func(string) *http.Client) []call {
		return []call{
			{name: "mount re-entry", client: client("mounts"), header: asserted, path: "/clusters/root:far/api",
				want: reply{Code: 200, Shard: "shard-1", Path: "/clusters/" + farTeam + "/api", User: "carol", Groups: authenticated("ops"),
					Extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:" + rootTeam}}}},
			{name: "name not allowed", client: client("other proxy"), header: asserted, path: "/clusters/root:far/api", want: unauthorized},
			{name: "headers of a user", client: client("alice"), header: asserted, path: "/clusters/root:far/api", want: as("shard-1", "/clusters/"+farTeam+"/api", "alice", alice...)},
		}
	}
	anonymousPasses := func(client func(string) *http.Client) []call {
		passed := reply{Code: 200, Shard: "root", Path: "/clusters/" + rootTeam + "/api"}
		token := passed
		token.Token = true
		return []call{
			{name: "no credential passes to the shard", client: client(""), path: "/clusters/root:team/api", want: passed},
			{name: "any token passes to the shard", client: client(""), token: "opaque", path: "/clusters/root:team/api", want: token},
		}
	}
	for _, tt := range []struct {
		name  string
		args  []string
		paths []string
		// mount adds files.
		mount func(*installation, *pod)
		calls func(*installation, func(string) *http.Client) []call
	}{
		{
			name: "operator, before mount re-entry",
			args: operatorArgs, paths: []string{"/clusters/", "/services/"},
			calls: func(_ *installation, client func(string) *http.Client) []call {
				return slices.Concat(byShard(client), anonymousPasses(client), []call{
					{name: "nobody may assert", client: client("mounts"), header: asserted, path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
		{
			name: "operator", args: slices.Concat(operatorArgs, operatorMountArgs), paths: []string{"/clusters/", "/services/"},
			mount: mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca"),
			calls: func(_ *installation, client func(string) *http.Client) []call {
				return slices.Concat(byShard(client), mounts(client), anonymousPasses(client))
			},
		},
		{
			name: "operator, drop and pass-on groups in literal quotes", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{
				`--authentication-drop-groups="ops,system:kcp:admin"`, `--authentication-pass-on-groups="devs,ops,system:*"`,
			}),
			mount: mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca"),
			calls: func(_ *installation, client func(string) *http.Client) []call {
				// The flag replaces the default: system:masters passes now.
				return []call{
					{name: "user", client: client("alice"), path: "/clusters/root:team/api",
						want: as("root", "/clusters/"+rootTeam+"/api", "alice", "devs", "system:authenticated", "system:masters")},
					{name: "asserted", client: client("mounts"), header: asserted, path: "/clusters/root:team/api",
						want: reply{Code: 200, Shard: "root", Path: "/clusters/" + rootTeam + "/api", User: "carol", Groups: authenticated("system:masters"),
							Extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:" + rootTeam}}}},
				}
			},
		},
		{
			name: "operator, OIDC", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{
				"--oidc-issuer-url=ISSUER", "--oidc-client-id=kcp-client", "--oidc-groups-claim=groups", "--oidc-username-claim=email",
				"--oidc-username-prefix=oidc:", "--oidc-groups-prefix=oidc:", "--oidc-ca-file=/etc/kcp/tls/oidc/ca.crt",
			}),
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, p)
				i.issuer = newRSAIssuer(i.t)
				p.mount("/etc/kcp/tls/oidc", map[string][]byte{"ca.crt": []byte(i.issuer.CAPEM())})
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				good := i.issuer.Sign(issuertest.Claims{"sub": "1", "email": "dave@example.com", "aud": "kcp-client", "groups": []string{"a"}})
				other := i.issuer.Sign(issuertest.Claims{"sub": "1", "email": "dave@example.com", "aud": "other"})
				return slices.Concat(byShard(client), mounts(client), []call{
					{name: "token", client: client(""), token: good, path: "/clusters/root:far/api",
						want: as("shard-1", "/clusters/"+farTeam+"/api", "oidc:dave@example.com", "oidc:a", "system:authenticated")},
					{name: "wrong audience", client: client(""), token: other, path: "/clusters/root:far/api", want: unauthorized},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
		{
			name: "operator, webhook", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{
				"--authentication-token-webhook-config-file=/etc/kcp/authentication/webhook/kubeconfig",
				"--authentication-token-webhook-cache-ttl=1m0s", "--authentication-token-webhook-version=v1",
			}),
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, p)
				i.webhook = newReviewer(i.t, i.kcp)
				p.mount("/etc/kcp/authentication/webhook", map[string][]byte{"kubeconfig": i.webhook.kubeconfig()})
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				return slices.Concat(byShard(client), mounts(client), []call{
					{name: "token", client: client(""), token: "erin-token", path: "/clusters/root:far/api",
						want: as("shard-1", "/clusters/"+farTeam+"/api", "erin", "support", "system:authenticated")},
					{name: "unknown token", client: client(""), token: "nobodys", path: "/clusters/root:far/api", want: unauthorized},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
		{
			name: "operator, token file", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{"--token-auth-file=/etc/kcp/authentication/token/token.csv"}),
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, p)
				p.mount("/etc/kcp/authentication/token", map[string][]byte{"token.csv": []byte(tokenFile)})
			},
			calls: func(_ *installation, client func(string) *http.Client) []call {
				user := as("shard-1", "/clusters/"+farTeam+"/api", "user-1", "system:authenticated", "team-1")
				system := as("shard-1", "/clusters/"+farTeam+"/api", "system", "system:authenticated")
				return slices.Concat(byShard(client), mounts(client), []call{
					{name: "token", client: client(""), token: "user-1-token", path: "/clusters/root:far/api", want: user},
					{name: "group that is dropped", client: client(""), token: "system-token", path: "/clusters/root:far/api", want: system},
					{name: "unknown token", client: client(""), token: "nobodys", path: "/clusters/root:far/api", want: unauthorized},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
		{
			name: "operator, service accounts of two shards", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{
				"--service-account-lookup=false", "--service-account-key-file=/etc/kcp/tls/root/service-account/tls.crt",
				"--service-account-key-file=/etc/kcp/tls/shard-1/service-account/tls.crt",
			}),
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, p)
				p.pair("/etc/kcp/tls/root/service-account", i.accounts[0])
				p.pair("/etc/kcp/tls/shard-1/service-account", i.accounts[1])
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				far := boundToken(i.t, i.accounts[1], farTeam)
				return slices.Concat(byShard(client), mounts(client), []call{
					{name: "key of root", client: client(""), token: boundToken(i.t, i.accounts[0], rootTeam), path: "/clusters/root:team/api",
						want: account("root", "/clusters/"+rootTeam+"/api", rootTeam)},
					{name: "key of shard-1", client: client(""), token: far, path: "/clusters/root:far/api",
						want: account("shard-1", "/clusters/"+farTeam+"/api", farTeam)},
					{name: "in-cluster path", client: client(""), token: far, path: "/api/v1/namespaces",
						want: account("shard-1", "/clusters/"+farTeam+"/api/v1/namespaces", farTeam)},
					{name: "foreign workspace", client: client(""), token: far, path: "/clusters/root:team/api",
						want: account("root", "/clusters/"+rootTeam+"/api", farTeam)},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
		{
			name: "operator, peers", paths: []string{"/clusters/", "/services/"},
			args: slices.Concat(operatorArgs, operatorMountArgs, []string{"--shard-peer-kubeconfig=/etc/kcp-front-proxy/peers-kubeconfig/kubeconfig"}),
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, p)
				p.mount("/etc/kcp-front-proxy/peers-kubeconfig", map[string][]byte{"kubeconfig": []byte(p.in(peersKubeconfig(i.kcp.Root.URL, i.shard.URL)))})
			},
			calls: func(_ *installation, client func(string) *http.Client) []call {
				return slices.Concat(byShard(client), mounts(client))
			},
		},
		{
			name: "chart kcp", args: chartKCPArgs, paths: []string{"/"},
			mount: func(i *installation, p *pod) {
				p.pair("/etc/kcp/tls/service-account", i.accounts[0])
				i.kcp.Root.PutServiceAccount(rootTeam, "default", "bot", "bot-uid")
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				token := boundToken(i.t, i.accounts[0], rootTeam)
				return []call{
					{name: "everything goes to root as it is", client: client("alice"), path: "/clusters/root:far/api", want: as("root", "/clusters/root:far/api", "alice", alice...)},
					{name: "unknown workspace is the shard's to refuse", client: client("alice"), path: "/clusters/root:nobody/api", want: as("root", "/clusters/root:nobody/api", "alice", alice...)},
					{name: "services", client: client("alice"), path: "/services/apiexport/x", want: as("root", "/services/apiexport/x", "alice", alice...)},
					{name: "account looked up with a private key's public half", client: client(""), token: token, path: "/clusters/root:team/api", want: account("root", "/clusters/root:team/api", rootTeam)},
					{name: "in-cluster path", client: client(""), token: token, path: "/api/v1/pods", want: account("root", "/clusters/"+rootTeam+"/api/v1/pods", rootTeam)},
					{name: "account that is gone", client: client(""), token: boundToken(i.t, i.accounts[0], "root"), path: "/clusters/root/api", want: unauthorized},
					{name: "unknown CA", client: client("stranger"), path: "/clusters/root:far/api", want: unauthorized},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				}
			},
		},
		{
			name: "chart kcp, OIDC and token file", paths: []string{"/"},
			args: slices.Concat(chartKCPArgs, []string{
				"--oidc-issuer-url=ISSUER", "--oidc-client-id=kcp", "--oidc-groups-claim=groups", "--oidc-username-claim=sub",
				"--oidc-username-prefix=", "--oidc-groups-prefix=oidc:", "--oidc-ca-file=/etc/kcp/tls/oidc/tls.crt",
				"--token-auth-file=/etc/kcp/token-auth/auth-token.csv",
			}),
			mount: func(i *installation, p *pod) {
				i.issuer = newRSAIssuer(i.t)
				p.pair("/etc/kcp/tls/service-account", i.accounts[0])
				p.mount("/etc/kcp/tls/oidc", map[string][]byte{"tls.crt": []byte(i.issuer.CAPEM())})
				p.mount("/etc/kcp/token-auth", map[string][]byte{"auth-token.csv": []byte(tokenFile)})
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				token := i.issuer.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp", "groups": []string{"a"}})
				return []call{
					{name: "OIDC, an empty prefix is the issuer's URL", client: client(""), token: token, path: "/clusters/root/api",
						want: as("root", "/clusters/root/api", i.issuer.URL()+"#dave", "oidc:a", "system:authenticated")},
					{name: "token file", client: client(""), token: "user-1-token", path: "/clusters/root/api",
						want: as("root", "/clusters/root/api", "user-1", "system:authenticated", "team-1")},
					{name: "garbage", client: client(""), token: "garbage", path: "/clusters/root/api", want: unauthorized},
				}
			},
		},
		{
			name: "chart proxy", args: slices.Concat(chartProxyArgs, []string{"--authentication-config=/etc/kcp/authentication/config.yaml"}),
			paths: []string{"/clusters/", "/services/"},
			mount: func(i *installation, p *pod) {
				mountRequestHeaderCA("/etc/kcp/tls/requestheader-client-ca")(i, p)
				p.pair("/etc/kcp/tls/service-account", i.accounts[0])
				p.pair("/etc/kcp/tls/shard-client", i.kcp.Watching)
				p.mount("/etc/kcp-front-proxy/shards", map[string][]byte{"kubeconfig": []byte(p.in(string(kubeconfigText("", "/etc/kcp/tls/shard-client"))))})
				i.issuer = newIssuer(i.t)
				p.mount("/etc/kcp/authentication", map[string][]byte{"config.yaml": []byte(structured(i.issuer))})
			},
			calls: func(i *installation, client func(string) *http.Client) []call {
				token := i.issuer.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp", "groups": []string{"a"}})
				return slices.Concat(byShard(client), mounts(client), []call{
					{name: "structured configuration", client: client(""), token: token, path: "/clusters/root:far/api",
						want: as("shard-1", "/clusters/"+farTeam+"/api", "s0:dave", "system:authenticated")},
					{name: "account, not looked up", client: client(""), token: boundToken(i.t, i.accounts[0], rootTeam), path: "/clusters/root:team/api",
						want: account("root", "/clusters/"+rootTeam+"/api", rootTeam)},
					{name: "account of a key that nobody mounted", client: client(""), token: boundToken(i.t, i.accounts[1], farTeam), path: "/clusters/root:far/api", want: unauthorized},
					{name: "no credential", client: client(""), path: "/clusters/root:far/api", want: unauthorized},
				})
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInstallation(t)
			pod := i.pod(tt.paths...)
			if tt.mount != nil {
				tt.mount(i, pod)
			}
			args := slices.Clone(tt.args)
			if i.issuer != nil {
				for n := range args {
					args[n] = strings.Replace(args[n], "ISSUER", i.issuer.URL(), 1)
				}
			}
			p := pod.run(i.kcp, args)
			clients := map[string]*http.Client{}
			calls := tt.calls(i, func(name string) *http.Client {
				if clients[name] == nil {
					clients[name] = i.client(p, name)
				}
				return clients[name]
			})
			// An issuer is read after the start; what follows needs it.
			for _, c := range calls {
				if c.token != "" && c.want.Code == http.StatusOK {
					p.await(c.client, c.path, c.token, http.StatusOK)
				}
			}
			p.check(calls)
		})
	}
}

const tokenFile = `user-1-token,user-1,,"team-1"
admin-token,admin,,"system:kcp:admin"
system-token,system,,"system:masters"
`

func mountRequestHeaderCA(path string) func(*installation, *pod) {
	return func(i *installation, p *pod) {
		p.mount(path, map[string][]byte{"tls.crt": i.kcp.RequestHeaderCA.PEM})
	}
}

// peersKubeconfig names every peer as a cluster; the current context has the
// credentials for all of them.
func peersKubeconfig(servers ...string) string {
	text := "apiVersion: v1\nkind: Config\nclusters:\n"
	for n, server := range servers {
		text += fmt.Sprintf("- name: peer-%d\n  cluster:\n    certificate-authority: /etc/kcp/tls/ca/tls.crt\n    server: %s\n", n, server)
	}
	return text + `contexts:
- name: peers
  context: {cluster: peer-0, user: admin}
current-context: peers
users:
- name: admin
  user:
    client-certificate: /etc/kcp-front-proxy/kubeconfig-client-cert/tls.crt
    client-key: /etc/kcp-front-proxy/kubeconfig-client-cert/tls.key
`
}

// structured is an AuthenticationConfiguration that trusts the issuers.
func structured(issuers ...*issuertest.Issuer) string {
	text := "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\njwt:\n"
	for n, s := range issuers {
		text += fmt.Sprintf("- issuer:\n    url: %s\n    audiences: [kcp]\n    certificateAuthority: %q\n  claimMappings:\n    username: {claim: sub, prefix: 's%d:'}\n",
			s.URL(), s.CAPEM(), n)
	}
	return text
}
