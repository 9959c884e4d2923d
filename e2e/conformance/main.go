// Command conformance runs end-to-end suites of kcp's own, as kcp has them, with
// front-proxy in kcp-front-proxy's place, and prints how many tests passed. kcp's
// sharded-test-server starts everything: two shards, their virtual workspace
// servers, a cache server and, from the PATH, the proxy. It needs what `make
// conformance` builds, and the ports that kcp's test server is fixed to (6443 and
// up).
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"frontproxy/e2e/harness"
)

const (
	kcpModule = "github.com/kcp-dev/kcp"
	sdkModule = "github.com/kcp-dev/sdk"
	// readyTimeout is how long all of kcp may take to start.
	readyTimeout = 10 * time.Minute
)

// suites are the packages below kcp's test/e2e that are about what a proxy does.
// Those that a kcp does not have, it does not have the feature for.
var suites = []string{"proxy", "authentication", "authorizer", "mounts", "homeworkspaces", "logicalclustermigration"}

// gates are what kcp's own CI turns on, of those that a kcp has.
var gates = []string{"WorkspaceMounts", "CacheAPIs", "WorkspaceAuthentication", "LogicalClusterMigration"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	kcps := flags.String("kcp", harness.KCP031+","+harness.KCP032, "which kcps, comma-separated")
	only := flags.String("run", "", "only tests that match, as in go test -run")
	incumbent := flags.Bool("incumbent", false, "leave kcp-front-proxy in its place, to compare")
	docs := flags.String("docs", "", "page to write the table into")
	if err := flags.Parse(args); err != nil {
		return err
	}
	release, err := harness.Exclusive()
	if err != nil {
		return err
	}
	defer release()
	var all []result
	var failed error
	for kcp := range strings.SplitSeq(*kcps, ",") {
		binaries, err := harness.FindBinaries(kcp)
		if err != nil {
			return err
		}
		if *incumbent {
			binaries.FrontProxy = binaries.KCPFrontProxy
		}
		c := &conformance{kcp: kcp, binaries: &binaries, run: *only, out: out}
		results, err := c.all(ctx)
		if err != nil {
			return fmt.Errorf("kcp %s: %w", binaries.Version, err)
		}
		all = append(all, results...)
	}
	text := table(all)
	_, _ = io.WriteString(out, "\n"+text)
	for _, r := range all {
		if len(r.failed) > 0 || r.passed == 0 {
			failed = errors.New("not all passed")
		}
	}
	if *docs != "" {
		failed = errors.Join(failed, harness.WriteGenerated(*docs, "make conformance DOCS=1", "As of "+time.Now().UTC().Format(time.DateOnly)+":\n\n"+text))
	}
	return failed
}

// conformance runs the suites of one kcp.
type conformance struct {
	kcp      string // which, as in harness.KCP032
	binaries *harness.Binaries
	run      string // which tests; empty means all
	out      io.Writer

	// inRepository is the flag for go build and go test that has kcp 0.31 find its
	// repository: above the source file that asks, in which it compiles another place.
	inRepository string
}

// all starts kcp, runs every suite it has and stops it.
func (c *conformance) all(ctx context.Context) ([]result, error) {
	if err := c.binaries.Ask(ctx); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "front-proxy-conformance-")
	if err != nil {
		return nil, err
	}
	module := filepath.Join(c.binaries.Repository, "e2e", "kcp-"+c.kcp)
	kcpDir, err := moduleDir(ctx, module, kcpModule)
	if err != nil {
		return nil, err
	}
	env, err := c.environment(ctx, work, module, kcpDir)
	if err != nil {
		return nil, err
	}
	server := filepath.Join(work, "sharded-test-server")
	if err := c.command(ctx, module, nil, "go", "build", c.inRepository, "-o", server, kcpModule+"/cmd/sharded-test-server"); err != nil {
		return nil, err
	}
	stop, err := c.start(ctx, server, work, env)
	if err != nil {
		return nil, fmt.Errorf("%w (logs: %s)", err, work)
	}
	defer stop()
	var results []result
	for _, suite := range suites {
		if _, err := os.Stat(filepath.Join(kcpDir, "test", "e2e", suite)); errors.Is(err, os.ErrNotExist) {
			_, _ = fmt.Fprintf(c.out, "kcp %s has no suite %s\n", c.binaries.Version, suite)
			continue
		}
		r, err := c.suite(ctx, suite, module, work, env)
		if err != nil {
			return nil, fmt.Errorf("suite %s: %w (logs: %s)", suite, err, work)
		}
		_, _ = fmt.Fprintf(c.out, "kcp %s, %s: %d passed, %d skipped, failed: %v\n", r.version, r.suite, r.passed, r.skipped, r.failed)
		results = append(results, r)
	}
	for _, r := range results {
		if len(r.failed) > 0 {
			_, _ = fmt.Fprintf(c.out, "logs and the suites' output are in %s\n", work)
			return results, nil
		}
	}
	return results, os.RemoveAll(work)
}

// environment is that of kcp's test server and suites: a PATH on which
// kcp-front-proxy is ours, and a directory that looks to them like kcp's
// repository.
func (c *conformance) environment(ctx context.Context, work, module, kcpDir string) ([]string, error) {
	sdkDir, err := moduleDir(ctx, module, sdkModule)
	if err != nil {
		return nil, err
	}
	path, repository := filepath.Join(work, "path"), filepath.Join(work, "repository")
	sdk := filepath.Join(repository, "staging", "src", filepath.FromSlash(sdkModule))
	c.inRepository = "-gcflags=" + sdkModule + "/testing/helpers=-trimpath=" + sdkDir + "=>" + sdk
	if err := os.MkdirAll(filepath.Join(repository, ".git"), 0o700); err != nil { // by which it knows it
		return nil, err
	}
	b := c.binaries
	for link, target := range map[string]string{
		filepath.Join(path, "kcp"):                b.KCP,
		filepath.Join(path, "cache-server"):       b.CacheServer,
		filepath.Join(path, "virtual-workspaces"): b.VirtualWorkspaces,
		filepath.Join(path, "kcp-front-proxy"):    b.FrontProxy,

		filepath.Join(repository, "test"):   filepath.Join(kcpDir, "test"),
		filepath.Join(repository, "go.mod"): filepath.Join(kcpDir, "go.mod"),
		sdk:                                 sdkDir,
	} {
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			return nil, err
		}
		if err := os.Symlink(target, link); err != nil {
			return nil, err
		}
	}
	return append(os.Environ(), "NO_GORUN=1", "UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC=true", "KCP_REPO_DIR="+repository,
		"PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH")), nil
}

// start starts kcp with two shards, as kcp's Makefile does, and returns what
// stops it.
func (c *conformance) start(ctx context.Context, server, work string, env []string) (stop func(), err error) {
	var on []string
	for _, gate := range gates {
		if c.binaries.HasGate(gate) {
			on = append(on, gate+"=true")
		}
	}
	log, err := os.Create(filepath.Join(work, "sharded-test-server.log")) //nolint:gosec // in our work directory
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(work, ".kcp"), 0o700); err != nil {
		return nil, err
	}
	cmd := exec.Command(server, "--quiet", "--v=2", "--log-dir-path="+filepath.Join(work, "logs"), "--work-dir-path="+work, //nolint:gosec // built above
		"--shard-run-virtual-workspaces=false", "--number-of-shards=2",
		"--shard-feature-gates="+strings.Join(on, ","), "--proxy-feature-gates="+strings.Join(on, ","))
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, work, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := os.MkdirAll(filepath.Join(work, "logs"), 0o700); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the shards, too: nobody needs their data again
		<-ended                                             //nolint:errcheck // it was killed
		_ = log.Close()
	}
	for deadline := time.Now().Add(readyTimeout); ; {
		if _, err := os.Stat(filepath.Join(work, ".kcp", "ready-to-test")); err == nil {
			return stop, nil
		}
		select {
		case err := <-ended:
			ended <- err
			stop()
			return nil, fmt.Errorf("kcp's test server ended: %w", err)
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("kcp is not ready after %v", readyTimeout)
		}
	}
}

// result is what came out of one suite. Subtests count, as in go test -v.
type result struct {
	version, suite  string
	passed, skipped int
	failed          []string
}

// suite runs one against the kcp that runs in work.
func (c *conformance) suite(ctx context.Context, name, module, work string, env []string) (result, error) {
	r := result{version: c.binaries.Version, suite: name}
	kubeconfig := func(dir string) string { return filepath.Join(work, dir, "admin.kubeconfig") }
	cmd := exec.CommandContext(ctx, "go", "test", c.inRepository, "-json", "-count=1", "-timeout=40m", "-parallel=2", "-run="+c.run, path.Join(kcpModule, "test/e2e", name), //nolint:gosec // fixed
		"-args", "--kcp-kubeconfig="+kubeconfig(".kcp"), "--shard-kubeconfigs=root="+kubeconfig(".kcp-0")+",shard-1="+kubeconfig(".kcp-1"))
	cmd.Dir, cmd.Env = module, env
	var diagnosis bytes.Buffer
	cmd.Stderr = &diagnosis
	events, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	log, err := os.Create(filepath.Join(work, name+".log")) //nolint:gosec // in our work directory
	if err != nil {
		return r, err
	}
	defer func() { _ = log.Close() }()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	if err := r.read(events, log); err != nil {
		return r, err
	}
	if err := cmd.Wait(); err != nil && len(r.failed) == 0 {
		return r, fmt.Errorf("go test: %w\n%s", err, diagnosis.String())
	}
	return r, nil
}

// read counts what `go test -json` says, and writes the tests' output to log.
func (r *result) read(events io.Reader, log io.Writer) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			slices.Sort(r.failed)
			return nil
		}
		if err != nil {
			return err
		}
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		_, _ = io.WriteString(log, e.Output)
		switch {
		case e.Action == "build-fail":
			r.failed = append(r.failed, "(does not build)")
		case e.Test == "":
		case e.Action == "pass":
			r.passed++
		case e.Action == "skip":
			r.skipped++
		case e.Action == "fail":
			r.failed = append(r.failed, e.Test)
		}
	}
}

// moduleDir is where a module's source is.
func moduleDir(ctx context.Context, of, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module) //nolint:gosec // fixed
	cmd.Dir = of
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *conformance) command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // fixed
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
