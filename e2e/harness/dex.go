package harness

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// LoginTools are programs that nobody here wrote, to log in with: the issuer Dex and
// int128/kubelogin; and this repository's kubectl plugin. Absolute paths.
type LoginTools struct{ Dex, Kubelogin, Plugin string }

// FindLoginTools is FindBinaries for them.
func FindLoginTools() (LoginTools, error) {
	root, err := repository()
	if err != nil {
		return LoginTools{}, err
	}
	sums, err := os.ReadFile(filepath.Join(root, "e2e", "login-tools", "go.sum")) //nolint:gosec // the repository's
	if err != nil {
		return LoginTools{}, err
	}
	sum := sha256.Sum256(sums)
	dir := filepath.Join("bin", "login-tools-"+hex.EncodeToString(sum[:])[:12])
	t := LoginTools{
		Dex: filepath.Join(root, dir, "dex"), Kubelogin: filepath.Join(root, dir, "kubelogin"), Plugin: filepath.Join(root, "bin", "kubectl-kcp_login"),
	}
	if !isFile(t.Dex) || !isFile(t.Kubelogin) {
		err = fmt.Errorf("%s is missing: `make %s` builds it (some minutes, once)", t.Dex, dir)
	}
	if !isFile(t.Plugin) {
		err = errors.Join(err, fmt.Errorf("%s is missing: `make build` builds it", t.Plugin))
	}
	return t, err
}

// What Dex knows of its user.
const (
	DexClient   = "kubectl"
	DexUser     = "alice@example.com"
	DexPassword = "password"
	// dexHash is bcrypt of DexPassword.
	dexHash = "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"
)

// Dex is a running Dex with one user and a public client, which keeps everything in
// memory: a restart makes new keys and ends all logins.
type Dex struct {
	// URL is the issuer's; it stays the same over restarts.
	URL string
	// CAFile has the CA that it is verified with, CAPEM the same.
	CAFile string
	CAPEM  string

	binary, config, log string
	program             *Program
}

// StartDex starts one, with its files in dir; lifetime is that of ID tokens.
func StartDex(ctx context.Context, binary, dir string, lifetime time.Duration) (*Dex, error) {
	ca, err := NewCA(dir, "dex-ca")
	if err != nil {
		return nil, err
	}
	serving, err := ca.Serving(dir, "dex")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	d := &Dex{
		URL: loopback(port) + "/dex", CAFile: ca.File, CAPEM: string(ca.PEM),
		binary: binary, config: filepath.Join(dir, "dex.yaml"), log: filepath.Join(dir, "dex.log"),
	}
	config := fmt.Sprintf(`issuer: %s
storage: {type: memory}
web: {https: "127.0.0.1:%d", tlsCert: %s, tlsKey: %s}
oauth2: {skipApprovalScreen: true}
expiry: {idTokens: %s}
enablePasswordDB: true
staticPasswords:
- {email: %s, username: alice, userID: "1", hash: %q}
staticClients:
- {id: %s, name: kubectl, public: true}
- {id: other, name: Another client, public: true}
`, d.URL, port, serving.CertFile, serving.KeyFile, lifetime, DexUser, dexHash, DexClient)
	if err := os.WriteFile(d.config, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return d, d.Start(ctx)
}

// Start starts it again, after Stop, and waits until it answers.
func (d *Dex) Start(ctx context.Context) error {
	var err error
	if d.program, err = StartProgram("dex", d.log, d.binary, "serve", d.config); err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(d.CAPEM))
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	return Eventually(ctx, time.Minute, "Dex to answer", func(ctx context.Context) error {
		if err := d.program.Alive(); err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL+"/.well-known/openid-configuration", nil)
		if err != nil {
			return err
		}
		res, err := client.Do(request)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", res.Status)
		}
		return nil
	})
}

// Stop ends it.
func (d *Dex) Stop() { d.program.Stop() }

// BuildFormFiller builds e2e/formfiller into dir, and returns its path.
func BuildFormFiller(ctx context.Context, dir string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "formfiller")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./e2e/formfiller") //nolint:gosec // our own
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the form filler: %w\n%s", err, out)
	}
	return path, nil
}

// CreateLoginConfiguration is CreateAuthConfiguration with annotations.
func (c *Client) CreateLoginConfiguration(ctx context.Context, cluster, name string, annotations map[string]string, jwt ...any) error {
	return c.createOnceServed(ctx, cluster, AuthConfigurations, &map[string]any{
		"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceAuthenticationConfiguration",
		"metadata": map[string]any{"name": name, "annotations": annotations}, "spec": map[string]any{"jwt": jwt},
	})
}
