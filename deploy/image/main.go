// Command image packs built binaries into a container image for several
// architectures, without a container engine and without pulling anything, and
// prints the image's digest. The same binaries give the same image, byte for
// byte. Beside each binary it writes what that was built from, as a CycloneDX
// SBOM named like the binary with .cdx.json.
//
//	image -version v1 -out DIR linux/amd64=bin/front-proxy-amd64 …   an OCI image layout in DIR and DIR.tar
//	image -roots                                                     only prints the CA bundle
//
// It is a module of its own so that front-proxy does not depend on its libraries.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	user = "65532:65532" // numeric, so that runAsNonRoot can be checked
	refs = "org.opencontainers.image.ref.name"
)

// epoch is the time of everything in the image.
var epoch = time.Unix(0, 0).UTC()

func main() {
	version := flag.String("version", "", "what the image is labelled and tagged with")
	revision := flag.String("revision", "", "the commit it was built from")
	out := flag.String("out", "", "directory of the OCI image layout; .tar is put beside it")
	roots := flag.Bool("roots", false, "print the CA bundle and do nothing else")
	flag.Parse()
	var err error
	if *roots {
		_, err = os.Stdout.Write(caBundle())
	} else {
		err = build(os.Stdout, *version, *revision, *out, flag.Args())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// build writes the layout, reads it back and checks every digest in it, and prints
// the one by which the image is pushed, signed and pulled.
func build(stdout io.Writer, version, revision, out string, binaries []string) error {
	if version == "" || out == "" || len(binaries) == 0 {
		return fmt.Errorf("-version, -out and at least one os/arch=file are needed; see the comment in deploy/image/main.go")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range binaries {
		platform, file, ok := strings.Cut(b, "=")
		system, arch, both := strings.Cut(platform, "/")
		if !ok || !both {
			return fmt.Errorf("%q: want os/arch=file", b)
		}
		image, err := one(version, revision, system, arch, file)
		if err != nil {
			return fmt.Errorf("image for %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: arch}},
		})
		if err := writeSBOM(file, version); err != nil {
			return fmt.Errorf("SBOM of %s: %w", file, err)
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	path, err := layout.Write(out, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{refs: version})); err != nil {
		return err
	}
	written, err := layout.ImageIndexFromPath(out)
	if err != nil {
		return err
	}
	if err := validate.Index(written); err != nil {
		return fmt.Errorf("what was written to %s does not read back: %w", out, err)
	}
	if err := pack(out, out+".tar"); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", out, digest)
	return err
}

// writeSBOM writes what the Go binary says it was built from to the file named like it
// with .cdx.json: modules with their checksums, the standard library, and the binary's
// own hashes. It has no time and no random number, so that it is the same each time.
func writeSBOM(binary, version string) error {
	generator, err := bin.NewGenerator(binary, bin.WithLogger(zerolog.Nop()), bin.WithIncludeStdlib(true), bin.WithVersionOverride(version))
	if err != nil {
		return err
	}
	bom, err := generator.Generate()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(binary+".cdx.json", out.Bytes(), 0o644)
}

func one(version, revision, system, arch, file string) (v1.Image, error) {
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	content, err := files(binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = system, arch, v1.Time{Time: epoch}
	config.Config = v1.Config{
		User: user, Entrypoint: []string{"/front-proxy"}, WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"6443/tcp": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "front-proxy",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.revision": revision,
		},
	}
	return mutate.ConfigFile(image, config)
}

// files is the image's one layer: the binary under its two names and the CA
// bundle, all owned by root and writable by nobody.
func files(binary []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name    string
		kind    byte
		mode    int64
		link    string
		content []byte
	}{
		{name: "front-proxy", kind: tar.TypeReg, mode: 0o555, content: binary},
		{name: "kcp-front-proxy", kind: tar.TypeSymlink, mode: 0o777, link: "front-proxy"},
		{name: "etc/", kind: tar.TypeDir, mode: 0o755},
		{name: "etc/ssl/", kind: tar.TypeDir, mode: 0o755},
		{name: "etc/ssl/certs/", kind: tar.TypeDir, mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", kind: tar.TypeReg, mode: 0o444, content: caBundle()},
	} {
		header := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: f.mode, Linkname: f.link, Size: int64(len(f.content)), ModTime: epoch, Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// caBundle is Mozilla's as golang.org/x/crypto publishes it, pinned by go.sum.
// Roots that only hold with a further constraint are left out: PEM has no place
// for it.
func caBundle() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return out.Bytes()
}

// pack puts the layout into one file, for those who carry it: names sorted,
// times fixed.
func pack(dir, file string) error {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content)), ModTime: epoch}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}
