// Package deploy tests what operators apply: the manifests against the real API
// types, the chart as helm renders it, the alerts as Prometheus evaluates them,
// the image, and the image run as the manifests say.
package deploy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"frontproxy/e2e/harness"
)

func TestMain(m *testing.M) {
	// Most of them wait for other programs most of the time.
	if err := flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// tool is a program that `make deploy-tools` builds, of the newest build.
func tool(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("../bin/deploy-tools-*/" + name)
	if err != nil || len(found) == 0 {
		t.Fatalf("bin/deploy-tools-…/%s is missing: `make deploy-tools` builds it (many minutes, once)", name)
	}
	newest, at := "", int64(0)
	for _, path := range found {
		info, err := os.Stat(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if now := info.ModTime().UnixNano(); now >= at {
			newest, at = path, now
		}
	}
	path, err := filepath.Abs(newest)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run is a command's standard output; it must succeed.
func run(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	out, err := attempt(in, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func attempt(in []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.Bytes(), nil
}

func kustomized(t *testing.T, dir string) []byte {
	t.Helper()
	binaries, err := harness.FindBinaries("")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, nil, binaries.Kubectl, "kustomize", dir)
}

// rendered are the results of charted so far, by its values: many tests look at each
// set of values.
var rendered sync.Map

// charted is the chart rendered as release front-proxy in namespace kcp.
func charted(t *testing.T, values ...string) []byte {
	t.Helper()
	key := strings.Join(values, "\n")
	if out, ok := rendered.Load(key); ok {
		return out.([]byte)
	}
	out := run(t, nil, tool(t, "helm"), append([]string{"template", "front-proxy", "charts/front-proxy", "--namespace=kcp"}, values...)...)
	rendered.Store(key, out)
	return out
}

// valuesOf is helm's argument for a file of ci/, as in valuesOf("acme").
func valuesOf(name string) string { return "--values=charts/front-proxy/ci/" + name + "-values.yaml" }

// valueSets are helm's arguments for the chart's defaults and for each file of ci/,
// by name.
func valueSets(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("charts/front-proxy/ci/*-values.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("ci/ has %d files of values: %v", len(files), err)
	}
	sets := map[string][]string{"defaults": nil}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		sets[name] = []string{valuesOf(name)}
	}
	return sets
}

// objects are the manifests of a stream, by kind and name.
func objects(t *testing.T, manifests []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for document := range strings.SplitSeq("\n"+string(manifests), "\n---\n") {
		object := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(object) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: object}
		key := u.GetKind() + " " + u.GetName()
		if found[key] != nil {
			t.Fatalf("two of %s", key)
		}
		found[key] = u
	}
	return found
}

// typed is the object of that kind and name as its Go type.
func typed[T any](t *testing.T, all map[string]*unstructured.Unstructured, key string) T {
	t.Helper()
	var out T
	if all[key] == nil {
		t.Fatalf("no %s", key)
	}
	if err := apiruntime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(all[key].Object, &out, true); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return out
}
