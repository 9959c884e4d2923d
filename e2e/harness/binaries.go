package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Binaries are the executables an environment is made of, as absolute paths.
type Binaries struct {
	KCP, KCPFrontProxy, CacheServer, Kubectl string
	// VirtualWorkspaces may be missing: only environments that have virtual
	// workspace servers run it.
	VirtualWorkspaces string
	// FrontProxy is this repository's own, or what the environment variable
	// FRONT_PROXY_E2E_BINARY names, such as a build with the race detector.
	FrontProxy string
}

// FindBinaries looks in bin/ of the repository that the working directory is
// in. Its error says what is missing and which make targets build it.
func FindBinaries() (Binaries, error) {
	root, err := repository()
	if err != nil {
		return Binaries{}, err
	}
	version, err := kcpVersion(filepath.Join(root, "e2e", "kcp", "go.mod"))
	if err != nil {
		return Binaries{}, err
	}
	tools := filepath.Join(root, "bin", "kcp-"+version)
	b := Binaries{
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

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // the person who runs the tests names it
	return err == nil && info.Mode().IsRegular()
}

// repository is the nearest directory, from the working directory up, that
// holds e2e/kcp/go.mod.
func repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "e2e", "kcp", "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the repository: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no directory from %s up has e2e/kcp/go.mod: run from inside the repository", start)
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
