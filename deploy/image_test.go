package deploy

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const layout = "../bin/image"

type descriptor struct {
	Digest   string `json:"digest"`
	Platform *struct {
		OS   string `json:"os"`
		Arch string `json:"architecture"`
	} `json:"platform"`
}

type imageConfig struct {
	Arch   string `json:"architecture"`
	OS     string `json:"os"`
	Config struct {
		User       string
		Entrypoint []string
		WorkingDir string
		Labels     map[string]string
	} `json:"config"`
}

// blob is content of the layout, checked against its digest.
func blob(t *testing.T, digest string) []byte {
	t.Helper()
	name, ok := strings.CutPrefix(digest, "sha256:")
	content, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", name))
	if err != nil || !ok {
		t.Fatalf("%s: %v; `make image` builds the image", digest, err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != name {
		t.Fatalf("%s has other content", digest)
	}
	return content
}

func decoded[T any](t *testing.T, content []byte) (out T) {
	t.Helper()
	if err := json.Unmarshal(content, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// images are the manifests of the layout by architecture: config and layer.
func images(t *testing.T) map[string][2]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatalf("%v: `make image` builds the image", err)
	}
	type index struct{ Manifests []descriptor }
	found := map[string][2]string{}
	for _, d := range decoded[index](t, blob(t, decoded[index](t, content).Manifests[0].Digest)).Manifests {
		m := decoded[struct {
			Config descriptor
			Layers []descriptor
		}](t, blob(t, d.Digest))
		if len(m.Layers) != 1 {
			t.Fatalf("%d layers, want 1", len(m.Layers))
		}
		found[d.Platform.OS+"/"+d.Platform.Arch] = [2]string{m.Config.Digest, m.Layers[0].Digest}
	}
	return found
}

// extract writes a layer's files below dir, as an engine does, and tells their
// kinds and modes.
func extract(t *testing.T, layer, dir string) map[string]string {
	t.Helper()
	file, err := os.Open(filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(layer, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		found[h.Name] = h.FileInfo().Mode().String() + h.Linkname
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.Mkdir(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		default:
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, content, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestImage reads the layout that `make image` made: both architectures, who it
// runs as, what is in it, and the program of this one runs.
func TestImage(t *testing.T) {
	all := images(t)
	var version string
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		parts, ok := all[platform]
		if !ok {
			t.Fatalf("no image for %s", platform)
		}
		config := decoded[imageConfig](t, blob(t, parts[0]))
		version = config.Config.Labels["org.opencontainers.image.version"]
		if got := config.OS + "/" + config.Arch; got != platform || version == "" {
			t.Errorf("the image for %s says %s, version %q", platform, got, version)
		}
		if diff := cmp.Diff([]string{"65532:65532", "/front-proxy", "/"}, []string{config.Config.User, strings.Join(config.Config.Entrypoint, " "), config.Config.WorkingDir}); diff != "" {
			t.Errorf("%s: user, entry point, directory (-want +got):\n%s", platform, diff)
		}
		blob(t, parts[1]) // checks its digest
		want := map[string]string{
			"front-proxy": "-r-xr-xr-x", "kcp-front-proxy": "Lrwxrwxrwxfront-proxy", "etc/": "drwxr-xr-x", "etc/ssl/": "drwxr-xr-x",
			"etc/ssl/certs/": "drwxr-xr-x", "etc/ssl/certs/ca-certificates.crt": "-r--r--r--",
		}
		dir := t.TempDir()
		if diff := cmp.Diff(want, extract(t, parts[1], dir)); diff != "" {
			t.Errorf("%s has files (-want +got):\n%s", platform, diff)
		}
		roots, err := os.ReadFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"))
		if err != nil || !x509.NewCertPool().AppendCertsFromPEM(roots) {
			t.Errorf("%s: the CA bundle holds no certificate: %v", platform, err)
		}
		if platform == runtime.GOOS+"/"+runtime.GOARCH {
			for _, name := range []string{"front-proxy", "kcp-front-proxy"} {
				if out := string(run(t, nil, filepath.Join(dir, name), "--version")); !strings.HasPrefix(out, "front-proxy version "+version+" go") {
					t.Errorf("%s --version says %q, the label %q", name, out, version)
				}
			}
		}
	}
}

// TestImageIsReproducible: two builds of the same sources, in two directories, have the
// same digest.
func TestImageIsReproducible(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	check(t, copySources(elsewhere, ".."))
	found, err := filepath.Glob("../bin/image-tool-*")
	if err != nil || len(found) == 0 {
		t.Fatalf("bin/image-tool-… is missing (%v): `make image` builds it", err)
	}
	tool, err := filepath.Abs(found[len(found)-1])
	check(t, err)
	digest := func(sources string) string {
		out := filepath.Join(t.TempDir(), "image")
		printed := string(run(t, nil, "env", "MAKEFLAGS=", "make", "-s", "-C", sources, "-o", tool, "image", "OUT="+out, "ARCHS="+runtime.GOARCH, "IMAGE="+tool, "VERSION=v1", "REVISION=x"))
		name, digest, _ := strings.Cut(strings.TrimSpace(printed), ": ")
		if name != out || !strings.HasPrefix(digest, "sha256:") {
			t.Fatalf("make image prints %q", printed)
		}
		if _, err := os.Stat(filepath.Join(out, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))); err != nil {
			t.Errorf("the image has no content of the digest that is printed: %v", err)
		}
		return digest
	}
	if here, there := digest(".."), digest(elsewhere); here != there {
		t.Errorf("two builds have the digests %s and %s", here, there)
	}
}

// copySources copies the repository's files but for bin/ and what is hidden.
func copySources(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || name == "." {
			return err
		}
		switch {
		case entry.IsDir() && (name == "bin" || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o755) //nolint:gosec // as in the repository
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644) //nolint:gosec // as in the repository
	})
}

// TestSBOM: beside each program is a list of what it was built from: every module that
// it has itself, the standard library, and its own hash.
func TestSBOM(t *testing.T) {
	t.Parallel()
	type property struct{ Name, Value string }
	for _, arch := range []string{"amd64", "arm64"} {
		program := layout + "-" + arch + "/front-proxy"
		content, err := os.ReadFile(program + ".cdx.json")
		if err != nil {
			t.Fatalf("%v; `make image` writes it", err)
		}
		bom := decoded[struct {
			Format     string `json:"bomFormat"`
			Serial     string `json:"serialNumber"`
			Components []struct{ Name, Version string }
			Metadata   struct {
				Timestamp  string
				Properties []property
			}
		}](t, content)
		if bom.Format != "CycloneDX" || bom.Serial != "" || bom.Metadata.Timestamp != "" {
			t.Errorf("%s: format %q, serial number %q, time %q", arch, bom.Format, bom.Serial, bom.Metadata.Timestamp)
		}
		listed := map[string]string{}
		for _, c := range bom.Components {
			listed[c.Name] = c.Version
		}
		info, err := buildinfo.ReadFile(program)
		check(t, err)
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			if listed[m.Path] != m.Version {
				t.Errorf("%s: %s %s is listed as %q", arch, m.Path, m.Version, listed[m.Path])
			}
		}
		if listed["std"] != info.GoVersion {
			t.Errorf("%s: the standard library is listed as %q, it is %s", arch, listed["std"], info.GoVersion)
		}
		binary, err := os.ReadFile(program)
		check(t, err)
		if want := (property{"cdx:gomod:binary:hash:SHA-256", fmt.Sprintf("%x", sha256.Sum256(binary))}); !slices.Contains(bom.Metadata.Properties, want) {
			t.Errorf("%s: no %v", arch, want)
		}
	}
}

// TestDockerfileAgrees holds the Dockerfile to what `make image` makes.
func TestDockerfileAgrees(t *testing.T) {
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var parts [2]string
	for _, p := range images(t) {
		parts = p
	}
	config := decoded[imageConfig](t, blob(t, parts[0])).Config
	for what, line := range map[string]string{
		"base": "FROM scratch", "user": "USER " + config.User, "directory": "WORKDIR " + config.WorkingDir,
		"entry point": `ENTRYPOINT ["` + strings.Join(config.Entrypoint, `", "`) + `"]`,
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + `$`).Match(content) {
			t.Errorf("%s: the Dockerfile has no line %q", what, line)
		}
	}
	for name := range extract(t, parts[1], t.TempDir()) {
		if !strings.HasSuffix(name, "/") && !strings.Contains(string(content), "/out/"+name) {
			t.Errorf("the Dockerfile makes no /%s", name)
		}
	}
	if !strings.Contains(string(content), "-X main.version=$VERSION") || !strings.Contains(string(content), "CGO_ENABLED=0") {
		t.Error("the Dockerfile's build is not static, or not stamped")
	}
}
