package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"strings"

	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"frontproxy/internal/login/trust"
	"frontproxy/internal/protectedresource"
)

// Programs that kubectl may run to get tokens.
const (
	execSelf      = "kcp-login"
	execKubelogin = "kubelogin"
)

// binary is the installed name, which provides `kubectl kcp-login`.
const binary = "kubectl-kcp_login"

const loginFlag = "--login="

// kubeconfig returns a kubeconfig with one context: the server, for an agreement.
func (p *program) kubeconfig(s *server, a *trust.Agreement) *clientcmdapi.Config {
	name := p.flags.context
	if name == "" {
		name = s.url.Host
		if s.workspace != "" {
			name = s.workspace + "@" + name
		}
	}
	user := "kcp-login-" + a.Key()[:12] + "@" + s.url.Host
	ask := p.execOf(a)
	if p.flags.exec == execKubelogin {
		user, ask = "kubelogin-"+a.Key()[:12]+"@"+s.url.Host, kubeloginOf(a)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: s.url.String(), CertificateAuthorityData: s.ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Exec: ask}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	return config
}

// execOf makes kubectl run this program for tokens. kubectl passes the server that
// needs the token, and the program compares it with the agreement.
func (p *program) execOf(a *trust.Agreement) *clientcmdapi.ExecConfig {
	args := []string{"get-token", loginFlag + a.Key()}
	if p.flags.device {
		args = append(args, "--device")
	}
	for _, address := range p.flags.listen {
		args = append(args, "--listen-address="+address)
	}
	return &clientcmdapi.ExecConfig{
		APIVersion: execCredential.GroupVersion().String(), Command: command(), Args: args,
		InteractiveMode: clientcmdapi.IfAvailableExecInteractiveMode, ProvideClusterInfo: true,
		InstallHint: binary + " is not installed: it comes with front-proxy, see docs/login.md there.",
	}
}

// command returns this program's name if the PATH leads to it, else its path.
func command() string {
	self, err := os.Executable()
	if err != nil {
		return binary
	}
	found, err := exec.LookPath(binary)
	if err != nil {
		return self
	}
	one, err1 := os.Stat(self)
	other, err2 := os.Stat(found)
	if err1 == nil && err2 == nil && os.SameFile(one, other) {
		return binary
	}
	return self
}

// kubeloginOf makes kubectl run int128/kubelogin, which stores tokens by issuer and
// client and does not know which server asks.
func kubeloginOf(a *trust.Agreement) *clientcmdapi.ExecConfig {
	args := []string{"oidc-login", "get-token", "--oidc-issuer-url=" + a.Issuer, "--oidc-client-id=" + a.ClientID, "--oidc-use-pkce"}
	if a.ClientSecret != "" {
		args = append(args, "--oidc-client-secret="+a.ClientSecret)
	}
	for _, scope := range a.Scopes {
		if scope != protectedresource.OpenID { // which it always requests
			args = append(args, "--oidc-extra-scope="+scope)
		}
	}
	if a.IssuerCA != "" {
		args = append(args, "--certificate-authority-data="+base64.StdEncoding.EncodeToString([]byte(a.IssuerCA)))
	}
	return &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1beta1", Command: "kubectl", Args: args, InteractiveMode: clientcmdapi.IfAvailableExecInteractiveMode,
		InstallHint: "kubelogin is not installed: see https://github.com/int128/kubelogin.",
	}
}

// writeKubeconfig merges the context into the kubeconfig, or prints it.
func (p *program) writeKubeconfig(s *server, a *trust.Agreement) error {
	config := p.kubeconfig(s, a)
	if p.flags.print {
		text, err := clientcmd.Write(*config)
		if err != nil {
			return err
		}
		_, err = p.out.Write(text)
		return err
	}
	access := p.access()
	merged, err := access.GetStartingConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	maps.Copy(merged.Clusters, config.Clusters)
	maps.Copy(merged.AuthInfos, config.AuthInfos)
	maps.Copy(merged.Contexts, config.Contexts)
	merged.CurrentContext = config.CurrentContext
	if err := clientcmd.ModifyConfig(access, *merged, false); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	p.say("The current context is now %s. Try: kubectl get configmaps\n", config.CurrentContext)
	return nil
}

func (p *program) access() *clientcmd.PathOptions {
	access := clientcmd.NewDefaultPathOptions()
	access.LoadingRules.ExplicitPath = p.flags.kubeconfig
	return access
}

// current returns the server and the agreement of the current or given context.
func (p *program) current() (*server, *trust.Agreement, error) {
	config, err := p.access().GetStartingConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	name := cmp.Or(p.flags.context, config.CurrentContext)
	if name == "" {
		return nil, nil, errors.New("the kubeconfig has no current context: log in with the workspace's URL first, or choose a context with --context")
	}
	c := config.Contexts[name]
	if c == nil || config.Clusters[c.Cluster] == nil || config.AuthInfos[c.AuthInfo] == nil {
		return nil, nil, fmt.Errorf("the kubeconfig has no context %q with a cluster and a user", name)
	}
	key := keyOf(config.AuthInfos[c.AuthInfo].Exec)
	if key == "" {
		return nil, nil, fmt.Errorf("the context %q was not made by kubectl kcp-login: log in with the workspace's URL", name)
	}
	cluster := config.Clusters[c.Cluster]
	a, err := p.agreed(key, &clientauthentication.Cluster{Server: cluster.Server, CertificateAuthorityData: cluster.CertificateAuthorityData, InsecureSkipTLSVerify: cluster.InsecureSkipTLSVerify, TLSServerName: cluster.TLSServerName})
	if err != nil {
		return nil, nil, err
	}
	s, err := newServer(cluster.Server, cluster.CertificateAuthorityData)
	return s, a, err
}

// keyOf returns the key of the tuple in a kubeconfig's user, or "".
func keyOf(ask *clientcmdapi.ExecConfig) string {
	if ask == nil {
		return ""
	}
	for _, arg := range ask.Args {
		if key, ok := strings.CutPrefix(arg, loginFlag); ok {
			return key
		}
	}
	return ""
}

// agreed returns the agreement with a key, if it was made for this server: the same
// host, verified in the same way. It does not trust the kubeconfig, in which somebody
// may have written another server.
func (p *program) agreed(key string, c *clientauthentication.Cluster) (*trust.Agreement, error) {
	a, err := p.trust.Get(key)
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, fmt.Errorf("you have not agreed to this login yet: run kubectl kcp-login %s", c.Server)
	}
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || trust.HostOf(u) != a.Host:
		return nil, fmt.Errorf("the login is for %s, but the kubeconfig would send its token to %q: refused; log in with the URL of that server", a.Host, c.Server)
	case c.InsecureSkipTLSVerify:
		return nil, errors.New("the kubeconfig does not verify the server (insecure-skip-tls-verify): anybody could read the token, so the plugin gives none")
	case c.TLSServerName != "" && !strings.EqualFold(c.TLSServerName, u.Hostname()):
		return nil, fmt.Errorf("the kubeconfig accepts a certificate of %q for %s (tls-server-name): refused", c.TLSServerName, a.Host)
	case string(bytes.TrimSpace(c.CertificateAuthorityData)) != a.HostCA:
		return nil, fmt.Errorf("the kubeconfig verifies %s with another CA than when you logged in: log in again, with --certificate-authority if the CA is private", a.Host)
	}
	return a, nil
}
