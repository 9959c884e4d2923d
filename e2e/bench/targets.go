package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"frontproxy/e2e/harness"
)

// target is what requests are sent to.
type target string

const (
	ours      target = "front-proxy"
	incumbent target = "kcp-front-proxy"
	floor     target = "floor"
	// usualFloor is floor with the settings of http.DefaultTransport, which speaks HTTP/2 to
	// the backend.
	usualFloor target = "floor, HTTP/2 to the backend"
	// pooledFloor is floor without the allocation of a buffer for each answer.
	pooledFloor target = "floor, pooled buffers"
	haproxy     target = "HAProxy" // only where it is installed
	direct      target = "no proxy"
	earlier     target = "front-proxy before" // another build of ours; only with -before
)

// running is a target's process before a world.
type running struct {
	target  target
	url     string
	pid     int
	program process // nil: direct
}

func (r *running) stop() {
	if r != nil && r.program != nil {
		r.program.Kill()
	}
}

// wanted are those of all that are to be measured, and an earlier build when
// there is one.
func (b *bench) wanted(all ...target) []target {
	if b.before != "" {
		all = append(all, earlier)
	}
	if b.haproxyPath == "" {
		all = slices.DeleteFunc(all, func(t target) bool { return t == haproxy })
	}
	return slices.DeleteFunc(all, func(t target) bool { return len(b.targets) > 0 && !slices.Contains(b.targets, string(t)) })
}

// start starts a target and waits until it lets alice into the last workspace.
// took is how long that lasted, from the process' start on.
func (b *bench) start(ctx context.Context, t target, w *world) (r *running, took time.Duration, err error) {
	if t == direct {
		return &running{target: t, url: w.URL}, 0, nil
	}
	port, err := harness.FreePort()
	if err != nil {
		return nil, 0, err
	}
	r = &running{target: t, url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	begin := time.Now()
	switch t {
	case floor, usualFloor, pooledFloor:
		r.program, err = b.part(ctx, "floor", "", floorTask{Address: r.url[len("https://"):], Backend: w.URL, CA: w.ServingCA,
			Serving: w.Serving, Client: w.Forwarding, HTTP2: t == usualFloor, Pooled: t == pooledFloor}, nil)
	case haproxy:
		r.program, err = b.haproxy(w, port)
	case ours:
		r.program, err = b.proxy(t, b.binaries.FrontProxy, w, port)
	case earlier:
		r.program, err = b.proxy(t, b.before, w, port)
	default:
		r.program, err = b.proxy(t, b.binaries.KCPFrontProxy, w, port)
	}
	if err != nil {
		return nil, 0, err
	}
	r.pid = r.program.PID()
	if err := b.awaitAnswer(ctx, r, w); err != nil {
		r.stop()
		return nil, 0, fmt.Errorf("%s: %w; see %s", t, err, b.log(string(t)))
	}
	return r, time.Since(begin), nil
}

// proxy starts either proxy; both take the same command line.
func (b *bench) proxy(t target, binary string, w *world, port int) (*harness.Program, error) {
	dir := b.file("root")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	args := []string{
		"--mapping-file=" + w.Mapping, "--root-kubeconfig=" + w.Kubeconfig, "--shards-kubeconfig=" + w.Kubeconfig, "--root-directory=" + dir,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--tls-cert-file=" + w.Serving.Cert, "--tls-private-key-file=" + w.Serving.Key,
		"--client-ca-file=" + w.ClientCA, "--feature-gates=WorkspaceAuthentication=true",
	}
	switch {
	case w.MountHosts == "":
	case t == incumbent:
		args = append(args, "--feature-gates=WorkspaceMounts=true")
	default:
		args = append(args, "--mount-hosts-file="+w.MountHosts)
	}
	return harness.StartProgram(string(t), b.log(string(t)), binary, args...)
}

// awaitAnswer asks for an object in the last workspace until it is given.
func (b *bench) awaitAnswer(ctx context.Context, r *running, w *world) error {
	pool, err := roots(w.ServingCA)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: tlsFor(pool)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+w.path(w.Workspaces-1)+"x", nil)
	if err != nil {
		return err
	}
	ask.Header.Set("Authorization", "Bearer "+w.Token)
	return await(ctx, patience, 10*time.Millisecond, func() (bool, error) {
		if err := r.program.Alive(); err != nil {
			return false, err
		}
		res, err := client.Do(ask)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		_, _ = copyAll(res.Body)
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
}
