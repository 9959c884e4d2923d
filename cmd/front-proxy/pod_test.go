package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// runAsProgram in the environment makes the test binary be front-proxy, so that
// argument lists with logging flags of their own run in a process of their own.
const runAsProgram = "FRONT_PROXY_TEST_RUN_AS_PROGRAM"

// pod is the part of a container's file system that a deployment mounts, below
// a directory of the test: its "/etc" stands for the real one.
type pod struct {
	t   testing.TB
	dir string
}

func newPod(t testing.TB) *pod { return &pod{t, t.TempDir()} }

// in is text with every path below /etc where it really is.
func (p *pod) in(text string) string { return strings.ReplaceAll(text, "/etc/", p.dir+"/etc/") }

// mount makes a Secret or ConfigMap volume, or changes what one holds.
func (p *pod) mount(path string, files map[string][]byte) {
	p.t.Helper()
	if err := harness.Mount(p.in(path), files); err != nil {
		p.t.Fatal(err)
	}
}

// pair mounts a kubernetes.io/tls Secret.
func (p *pod) pair(path string, pair harness.KeyPair) {
	p.mount(path, map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key})
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := harness.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// run starts the program with exactly the arguments, but for where /etc is, a
// free port, and loopback to listen on. At the end of the test SIGTERM must end
// it without an error, and it must not have written into its directory.
func (p *pod) run(k *standin.KCP, args []string) *runningProxy {
	t := p.t
	t.Helper()
	port := freePort(t)
	real := []string{"--bind-address=127.0.0.1"}
	for _, a := range args {
		if strings.HasPrefix(a, "--secure-port=") {
			a = "--secure-port=" + port
		}
		real = append(real, p.in(a))
	}
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0], real...) //nolint:gosec // this test binary
	var output bytes.Buffer
	cmd.Env = append(os.Environ(), runAsProgram+"=yes")
	cmd.Stdout, cmd.Stderr, cmd.Dir = &output, &output, t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	proxy := &runningProxy{t: t, kcp: k, url: "https://127.0.0.1:" + port, pid: cmd.Process.Pid}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(20*time.Second, kill)
		if err := <-ended; err != nil {
			t.Errorf("the program ended with: %v\n%s", err, output.String())
		}
		kill()
		if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
			t.Errorf("it wrote into its directory: %v, %v", left, err)
		}
	})
	client := proxy.client()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get(proxy.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return proxy
			}
		}
		select {
		case err := <-ended:
			ended <- errors.New("see above")
			t.Fatalf("the program ended at once: %v\n%s", err, output.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 3 minutes: %v", err)
		}
	}
}

// call is a request to a proxy and what must become of it.
type call struct {
	name   string
	client *http.Client
	token  string
	method string // empty: GET
	path   string
	header http.Header
	want   reply
}

// reply is an answer, and what the stand-in shard says if it made it.
type reply struct {
	Code int
	// Reason is that of the Status, for answers of the proxy's own.
	Reason string
	// Shard and Path are where it went, User and so on who it was taken for.
	Shard, Path string
	User, UID   string
	Groups      []string
	Extra       map[string][]string
	// Token says that the shard got the Authorization header.
	Token bool
}

// check makes the calls.
func (p *runningProxy) check(calls []call) {
	p.t.Helper()
	for _, c := range calls {
		if diff := cmp.Diff(c.want, p.call(c)); diff != "" {
			p.t.Errorf("%s: GET %s (-want +got):\n%s", c.name, c.path, diff)
		}
	}
}

const credentialID = "authentication.kubernetes.io/credential-id"

// call makes one.
func (p *runningProxy) call(c call) reply {
	p.t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, p.url+c.path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for key, values := range c.header {
		r.Header[key] = values
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		p.t.Errorf("%s: GET %s: %v", c.name, c.path, err)
		return reply{}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Errorf("%s: GET %s: %v", c.name, c.path, err)
	}
	got := reply{Code: resp.StatusCode}
	if resp.StatusCode != http.StatusOK {
		got.Reason = p.reason(resp, body)
		return got
	}
	var me standin.WhoAmI
	if err := json.Unmarshal(body, &me); err != nil {
		p.t.Errorf("%s: GET %s: %v in %s", c.name, c.path, err, body)
	}
	got.Shard, got.Path, got.User, got.UID, got.Groups, got.Extra = me.Shard, me.Path, me.User, me.UID, me.Groups, me.Extra
	got.Token = me.Header.Get("Authorization") != ""
	// A certificate's fingerprint differs from run to run: it is only looked at.
	if id := got.Extra[credentialID]; len(id) == 1 && strings.HasPrefix(id[0], "X509SHA256=") && len(id[0]) == len("X509SHA256=")+64 {
		delete(got.Extra, credentialID)
	}
	if len(got.Extra) == 0 {
		got.Extra = nil
	}
	return got
}

// reason is that of the Status that every failure must be.
func (p *runningProxy) reason(resp *http.Response, body []byte) string {
	p.t.Helper()
	var status struct {
		Kind, APIVersion, Status, Reason string
		Code                             int
	}
	if err := json.Unmarshal(body, &status); err != nil || status.Kind != "Status" || status.APIVersion != "v1" ||
		status.Status != "Failure" || status.Code != resp.StatusCode || resp.Header.Get("Content-Type") != "application/json" {
		p.t.Errorf("a %d is no Status in JSON: %s", resp.StatusCode, body)
	}
	return status.Reason
}
