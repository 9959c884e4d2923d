package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

// dexLifetime is that of Dex's ID tokens: the plugin renews them 10 s before.
const dexLifetime = 25 * time.Second

// loginWorld has workspaces whose users come from Dex, and somebody at a terminal.
type loginWorld struct {
	t     *testing.T
	tools harness.LoginTools
	dex   *harness.Dex
	proxy *harness.Proxy
	org   org
	home  string
	env   []string
}

func newLoginWorld(t *testing.T) *loginWorld {
	t.Helper()
	w := &loginWorld{t: t, home: t.TempDir()}
	var err error
	w.tools, err = harness.FindLoginTools()
	check(t, err)
	w.dex, err = harness.StartDex(t.Context(), w.tools.Dex, t.TempDir(), dexLifetime)
	check(t, err)
	t.Cleanup(w.dex.Stop)
	w.proxy, err = env.NewProxy("proxy-login-"+strings.ToLower(w.t.Name()), harness.ProxyOptions{LoginDiscovery: true})
	check(t, err)
	check(t, w.proxy.Start(t.Context()))
	t.Cleanup(func() { check(t, w.proxy.Stop()) })
	w.org = newOrg(t, harness.RootShard)

	bin := filepath.Join(w.home, "bin")
	check(t, os.Mkdir(bin, 0o700))
	filler, err := harness.BuildFormFiller(t.Context(), bin)
	check(t, err)
	for name, to := range map[string]string{
		"kubectl-kcp_login": w.tools.Plugin, "kubectl-oidc_login": w.tools.Kubelogin, "kubectl": env.Binaries().Kubectl, "xdg-open": filler,
	} {
		check(t, os.Symlink(to, filepath.Join(bin, name)))
	}
	w.env = []string{
		"PATH=" + bin, "HOME=" + w.home, "KUBECONFIG=" + filepath.Join(w.home, "kubeconfig"), "BROWSER=" + filler,
		"FORMFILLER_CA=" + w.dex.CAFile, "FORMFILLER_USER=" + harness.DexUser, "FORMFILLER_PASSWORD=" + harness.DexPassword,
	}
	return w
}

// login makes a configuration of Dex that tells how to log in with a client.
func (w *loginWorld) login(name, client string, audiences ...string) {
	w.t.Helper()
	check(w.t, env.Admin().CreateLoginConfiguration(w.t.Context(), w.org.Path, name, map[string]string{
		"front-proxy.kcp.io/login-client-id": client, "front-proxy.kcp.io/login-scopes": "openid email offline_access", "front-proxy.kcp.io/login-name": "Dex",
	}, map[string]any{
		"issuer":        map[string]any{"url": w.dex.URL, "audiences": append(audiences, client), "certificateAuthority": w.dex.CAPEM, "audienceMatchPolicy": "MatchAny"},
		"claimMappings": map[string]any{"username": map[string]any{"claim": "email", "prefix": prefix}},
	}))
}

// kubectl runs it; typed is what the person types.
func (w *loginWorld) kubectl(typed string, args ...string) (string, error) {
	return w.kubectlWith(nil, typed, args...)
}

func (w *loginWorld) kubectlWith(variables []string, typed string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.Binaries().Kubectl, args...)
	cmd.Env = append(w.env, variables...)
	cmd.Stdin = strings.NewReader(typed)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (w *loginWorld) kcpLogin(typed, workspace string, more ...string) (string, error) {
	return w.kubectl(typed, append([]string{"kcp-login", w.proxy.URL + "/clusters/" + workspace, "--certificate-authority=" + env.ServingCA.File}, more...)...)
}

// awaitDiscovery waits until the proxy tells where the users of a workspace log in.
func (w *loginWorld) awaitDiscovery(workspace string) {
	w.t.Helper()
	client := w.proxy.Certificate(harness.KeyPair{}, nil)
	eventually(w.t, "the proxy to tell where to log in to "+workspace, func(ctx context.Context) error {
		_, err := client.Raw(ctx, "/.well-known/oauth-protected-resource/clusters/"+workspace)
		return err
	})
}

// kept are the ID tokens that the plugin keeps.
func (w *loginWorld) kept() string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.home, ".config", "kcp-login", "tokens", "*.json"))
	check(w.t, err)
	all := ""
	for _, f := range files {
		text, err := os.ReadFile(f)
		check(w.t, err)
		var tokens struct {
			IDToken string `json:"idToken"`
		}
		check(w.t, json.Unmarshal(text, &tokens))
		all += tokens.IDToken
	}
	return all
}

// From a workspace's URL to a kubectl that works, with a server that nobody here
// wrote: in a workspace of the type and in no other, beyond the end of the token and
// of the login.
func TestLoginWithDex(t *testing.T) {
	t.Parallel()
	w := newLoginWorld(t)
	w.login("dex", harness.DexClient)
	kind := w.org.kind("team", "dex")
	one, two := w.org.workspace("one", kind, harness.RootShard), w.org.workspace("two", kind, shardOne)
	other := w.org.workspace("other", harness.TypeRef{}, harness.RootShard)
	w.awaitDiscovery(one.Path)
	w.awaitDiscovery(two.Path)

	if out, err := w.kcpLogin("", one.Path); err == nil || !strings.Contains(out, w.dex.URL) || !strings.Contains(out, "you did not say yes") {
		t.Fatalf("without a yes: %v\n%s", err, out)
	}
	out, err := w.kcpLogin("yes\n", one.Path)
	check(t, err)
	if !strings.Contains(out, "You are "+prefix+harness.DexUser) {
		t.Errorf("it does not say who alice is:\n%s", out)
	}
	_, err = w.kubectl("", "get", "configmaps")
	check(t, err)
	out, err = w.kubectl("", "kcp-login", "whoami")
	check(t, err)
	if !strings.Contains(out, prefix+harness.DexUser) {
		t.Errorf("whoami:\n%s", out)
	}

	if out, err = w.kcpLogin("", two.Path); err != nil || strings.Contains(out, "Log in at") {
		t.Errorf("another workspace of the type asks for a login: %v\n%s", err, out)
	}
	_, err = w.kubectl("", "get", "configmaps")
	check(t, err)
	if out, err := w.kubectl("", "get", "configmaps", "--server="+w.proxy.URL+"/clusters/"+other.Path); err == nil {
		t.Errorf("let into a workspace of another type:\n%s", out)
	}
	if out, err := w.kcpLogin("yes\n", other.Path); err == nil || !strings.Contains(out, "does not say where") {
		t.Errorf("a login at a workspace that tells nothing: %v\n%s", err, out)
	}

	first := w.kept()
	eventually(t, "the token to be renewed", func(context.Context) error {
		if _, err := w.kubectl("", "get", "configmaps"); err != nil {
			return err
		}
		if w.kept() == first {
			return errors.New("it is the first one still")
		}
		return nil
	})

	// Dex goes, and comes back with other keys and without its logins.
	w.dex.Stop()
	eventually(t, "kubectl to say that the issuer is gone", func(context.Context) error {
		out, err := w.kubectl("", "get", "configmaps")
		if err == nil || !strings.Contains(out, "could not") || !strings.Contains(out, w.dex.URL) {
			return fmt.Errorf("%w\n%s", errors.Join(err, errors.New("it does not")), out)
		}
		return nil
	})
	check(t, w.dex.Start(t.Context()))
	if out, err := w.kubectl("", "get", "configmaps"); err == nil || !strings.Contains(out, "log in again") {
		t.Errorf("a login that has ended: %v\n%s", err, out)
	}
	_, err = w.kcpLogin("", one.Path)
	check(t, err)
	_, err = w.kubectl("", "get", "configmaps")
	check(t, err)

	_, err = w.kubectl("", "kcp-login", "logout")
	check(t, err)
	if out, err := w.kubectl("", "get", "configmaps"); err == nil || !strings.Contains(out, "log in again") {
		t.Errorf("after logout: %v\n%s", err, out)
	}
}

var devicePage = regexp.MustCompile(`https://\S+/device\S*`)

// On a machine without a browser, the person opens a page elsewhere.
func TestDeviceLoginWithDex(t *testing.T) {
	t.Parallel()
	w := newLoginWorld(t)
	w.login("dex", harness.DexClient)
	one := w.org.workspace("one", w.org.kind("team", "dex"), shardOne)
	w.awaitDiscovery(one.Path)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.Binaries().Kubectl, "kcp-login", w.proxy.URL+"/clusters/"+one.Path, "--certificate-authority="+env.ServingCA.File)
	cmd.Env = append(w.env, "BROWSER=")
	cmd.Stdin = strings.NewReader("yes\n")
	elsewhere := &elsewhere{world: w}
	cmd.Stderr = elsewhere
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, elsewhere.said.String(), elsewhere.result)
	}
	_, err := w.kubectl("", "get", "configmaps")
	check(t, err)
}

// elsewhere opens the page that it reads of, once.
type elsewhere struct {
	world  *loginWorld
	said   bytes.Buffer
	result string
}

func (e *elsewhere) Write(b []byte) (int, error) {
	e.said.Write(b)
	if page := devicePage.FindString(e.said.String()); page != "" && e.result == "" && strings.HasSuffix(e.said.String(), "\n") {
		filler := exec.CommandContext(e.world.t.Context(), filepath.Join(e.world.home, "bin", "formfiller"), page)
		filler.Env = e.world.env
		out, err := filler.CombinedOutput()
		e.result = fmt.Sprintf("the form filler: %v %s", err, out)
	}
	return len(b), nil
}

// kubelogin gets in with the kubeconfig that is made for it.
func TestKubeloginWithDex(t *testing.T) {
	t.Parallel()
	w := newLoginWorld(t)
	w.login("dex", harness.DexClient)
	one := w.org.workspace("one", w.org.kind("team", "dex"), shardOne)
	w.awaitDiscovery(one.Path)
	_, err := w.kcpLogin("yes\n", one.Path, "--exec=kubelogin")
	check(t, err)
	eventuallyKubectl := func(what string) {
		t.Helper()
		eventually(t, what, func(context.Context) error {
			_, err := w.kubectlWith([]string{"BROWSER="}, "", "get", "configmaps")
			return err
		})
	}
	eventuallyKubectl("kubelogin to log alice in")
	if kept := w.kept(); kept != "" {
		t.Error("the plugin keeps tokens, too")
	}
}

// A type's owner may name a company's issuer with a client of their own, or a client
// that a workspace beside it has: the person is asked, the issuer is not, and no
// token that is kept goes there.
func TestHostileTypeOwner(t *testing.T) {
	t.Parallel()
	w := newLoginWorld(t)
	w.login("dex", harness.DexClient)
	w.login("hostile", "other", harness.DexClient)
	company := w.org.workspace("company", w.org.kind("team", "dex"), harness.RootShard)
	hostile := w.org.workspace("hostile", w.org.kind("trap", "hostile"), harness.RootShard)
	w.awaitDiscovery(company.Path)
	w.awaitDiscovery(hostile.Path)
	_, err := w.kcpLogin("yes\n", company.Path)
	check(t, err)
	w.dex.Stop() // whatever asked it now would fail otherwise
	out, err := w.kcpLogin("", hostile.Path)
	if err == nil || !strings.Contains(out, "So far you trusted this issuer here with client "+harness.DexClient) || !strings.Contains(out, "you did not say yes") {
		t.Errorf("another client: %v\n%s", err, out)
	}
	if out, err := w.kubectl("", "config", "current-context"); err != nil || !strings.HasPrefix(out, company.Path+"@") {
		t.Errorf("the context has changed to %s (%v)", out, err)
	}
	// With the company's client, in a kubeconfig that somebody else wrote.
	stranger := w.proxy.URL[:strings.LastIndex(w.proxy.URL, ":")] + ":1"
	if out, err := w.kubectl("", "get", "configmaps", "--server="+stranger+"/clusters/"+company.Path); err == nil || !strings.Contains(out, "refused; log in with the URL of that server") {
		t.Errorf("another host got a token: %v\n%s", err, out)
	}
}
