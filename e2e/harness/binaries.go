package harness

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The kcps that the repository builds, each from the module e2e/kcp-<its name>.
const (
	KCP031 = "0.31"
	KCP032 = "0.32"
)

// Newest is the one that tests run on unless they say otherwise.
const Newest = KCP032

// Binaries are the executables an environment is made of, as absolute paths.
type Binaries struct {
	// Version is kcp's, such as v0.32.3.
	Version string
	// Repository is this repository's directory.
	Repository string

	KCP, KCPFrontProxy, CacheServer, Kubectl string
	// VirtualWorkspaces may be missing: only environments that have virtual
	// workspace servers run it.
	VirtualWorkspaces string
	// FrontProxy is this repository's own, or what the environment variable
	// FRONT_PROXY_E2E_BINARY names, such as a build with the race detector.
	FrontProxy string

	help, proxyHelp string // of `kcp start` and kcp-front-proxy
}

// FindBinaries looks for one of the kcps, and for the proxy, in bin/ of the
// repository that the working directory is in. An empty kcp means what the
// environment variable FRONT_PROXY_E2E_KCP says, or Newest. Its error says what
// is missing and which make targets build it.
func FindBinaries(kcp string) (Binaries, error) {
	if kcp == "" {
		kcp = cmp.Or(os.Getenv("FRONT_PROXY_E2E_KCP"), Newest)
	}
	root, err := repository()
	if err != nil {
		return Binaries{}, err
	}
	version, err := kcpVersion(filepath.Join(root, "e2e", "kcp-"+kcp, "go.mod"))
	if err != nil {
		return Binaries{}, err
	}
	tools := filepath.Join(root, "bin", "kcp-"+version)
	b := Binaries{
		Version:       version,
		Repository:    root,
		KCP:           filepath.Join(tools, "kcp"),
		KCPFrontProxy: filepath.Join(tools, "kcp-front-proxy"),
		CacheServer:   filepath.Join(tools, "cache-server"),
		Kubectl:       filepath.Join(tools, "kubectl"),
		FrontProxy:    filepath.Join(root, "bin", "front-proxy"),

		VirtualWorkspaces: filepath.Join(tools, "virtual-workspaces"),
	}
	if path := os.Getenv("FRONT_PROXY_E2E_BINARY"); path != "" {
		b.FrontProxy = path
	}
	var missing []error
	for _, tool := range []string{b.KCP, b.KCPFrontProxy, b.CacheServer, b.Kubectl} {
		if !isFile(tool) {
			missing = append(missing, fmt.Errorf("%s is missing: `make bin/kcp-%s` builds it (about 5 minutes, once)", tool, version))
			break
		}
	}
	if !isFile(b.FrontProxy) {
		missing = append(missing, fmt.Errorf("%s is missing: `make build` builds it", b.FrontProxy))
	}
	return b, errors.Join(missing...)
}

// Ask notes what this kcp can do, by its programs' own help; HasGate needs it
// first.
func (b *Binaries) Ask(ctx context.Context) error {
	for program, ask := range map[string]struct {
		args []string
		into *string
	}{b.KCP: {[]string{"start", "options"}, &b.help}, b.KCPFrontProxy: {[]string{"--help"}, &b.proxyHelp}} {
		help, err := exec.CommandContext(ctx, program, ask.args...).CombinedOutput() //nolint:gosec // a binary of the repository
		if err != nil {
			return fmt.Errorf("ask %s for its flags: %w\n%s", program, err, help)
		}
		*ask.into = string(help)
	}
	return nil
}

// hasFlag reports whether `kcp start` has a flag, given without dashes.
func (b *Binaries) hasFlag(name string) bool { return strings.Contains(b.help, " --"+name+" ") }

// HasGate reports whether `kcp start` has a feature gate, by the list of defaults.
func (b *Binaries) HasGate(name string) bool {
	return strings.Contains(b.help, ","+name+"=") || strings.Contains(b.help, "(default "+name+"=")
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // the person who runs the tests names it
	return err == nil && info.Mode().IsRegular()
}

// repository is the nearest directory, from the working directory up, that
// holds e2e/kcp-<Newest>/go.mod.
func repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "e2e", "kcp-"+Newest, "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the repository: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no directory from %s up has e2e/kcp-%s/go.mod: run from inside the repository", start, Newest)
		}
	}
}

// kcpVersion reads the version of kcp that a go.mod requires.
func kcpVersion(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // a file of the repository
	if err != nil {
		return "", fmt.Errorf("read kcp's version: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(lines.Text(), "require "))
		if len(fields) >= 2 && fields[0] == "github.com/kcp-dev/kcp" {
			return fields[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read kcp's version from %s: %w", path, err)
	}
	return "", fmt.Errorf("%s does not require github.com/kcp-dev/kcp", path)
}
