package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"frontproxy/e2e/standin"
)

// attack is what a stranger or a tenant does while a neighbour works.
type attack struct {
	name string
	// path is what the i-th request is for, in workspaces that are the attacker's.
	path func(w *world, i int) string
	// token: with a new one of the issuer that never answers.
	token bool
	// body: a POST that announces one, which does not come.
	body bool
	// unread: by streams that take nothing of their answers.
	unread bool
	// loops: a few clients send one request after the other for as long as it lasts. Of
	// these, those that obey come back when a 429 tells them to, as client-go does.
	loops, obeys bool
	// plain: a proxy that knows neither mounts nor issuers gets it, too.
	plain bool
}

var attacks = []attack{
	{name: "neighbour of a mounted host that never answers", path: func(*world, int) string { return "/clusters/root:away/api" }},
	{name: "neighbour of an issuer that never answers", token: true, path: (*world).hanging},
	{name: "neighbour of bodies that never come", body: true, plain: true, path: func(w *world, i int) string {
		if i%2 == 0 {
			return "/mapped/x"
		}
		return w.open(i)
	}},
	{name: "neighbour of answers that nobody reads", unread: true, plain: true, path: func(w *world, i int) string { return w.open(i) + "1MiB" }},
	{name: loopAttack, loops: true, obeys: true, plain: true, path: func(w *world, _ int) string { return w.open(0) + "x" }},
	{name: "neighbour of a loop that comes back at once", loops: true, plain: true, path: func(w *world, _ int) string { return w.open(0) + "x" }},
}

// loopAttack is what has a bound in the table.
const loopAttack = "neighbour of a loop that waits as it is told"

const (
	// looping is how many clients loop.
	looping = 16
)

// The attacker's workspaces, beyond those of the load: four of a type whose issuer
// never answers, and four of one without issuers, in which strangers are the
// shard's to judge.
const (
	hangingType, openType = "hanging", "open"
	attackedWorkspaces    = 4
)

func (w *world) hanging(i int) string { return w.attacked(i % attackedWorkspaces) }

func (w *world) open(i int) string { return w.attacked(attackedWorkspaces + i%attackedWorkspaces) }

func (w *world) attacked(i int) string {
	return fmt.Sprintf("/clusters/root:ws-%d/apis/example.io/v1/namespaces/default/widgets/", w.Workspaces+i)
}

// attackTask is what a process that attacks does.
type attackTask struct {
	Report, URL string
	World       world
	Attack      string
	Requests    int
	// Loops is how long a loop may take until it is refused for the first time, which is
	// when its bucket's burst is used up; a proxy without rates never refuses it.
	Loops time.Duration
}

// attackReport is written once every request is sent, and when it changes.
type attackReport struct {
	Waiting int
	Ends    map[string]int // of the others: how many ended how
}

// runAttack sends the requests, reports, and keeps them until ctx ends.
func runAttack(ctx context.Context, t attackTask) error {
	var a *attack
	for i := range attacks {
		if attacks[i].name == t.Attack {
			a = &attacks[i]
		}
	}
	if a == nil {
		return fmt.Errorf("no attack is called %q", t.Attack)
	}
	pool, err := roots(t.World.ServingCA)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: tlsFor(pool), ForceAttemptHTTP2: true}
	if a.unread {
		transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 1}
	}
	if a.loops {
		return a.loop(ctx, transport, &t)
	}
	tokens := newAsker(&loadTask{World: t.World})
	var sent atomic.Int64
	ends := make(chan string, t.Requests)
	for i := range t.Requests {
		go func() {
			for ctx.Err() == nil {
				begin := time.Now()
				end := a.send(ctx, transport, &t, tokens, i, &sent)
				if time.Since(begin) < gaveUp {
					ends <- end
					return
				} // what waited as long as it may is sent again
			}
		}()
	}
	report := attackReport{Waiting: t.Requests, Ends: map[string]int{}}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for changed := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case end := <-ends:
			report.Ends[end]++
			report.Waiting--
			changed = true
		case <-tick.C:
			if !changed || int(sent.Load()) < report.Waiting {
				continue
			}
			if err := writeReport(t.Report, report); err != nil {
				return err
			}
			changed = false
		}
	}
}

// loop has clients send requests until ctx ends. It reports when the first one is refused, or
// when that has not happened for a while.
func (a *attack) loop(ctx context.Context, transport *http.Transport, t *attackTask) error {
	transport.MaxIdleConnsPerHost = looping
	refused := make(chan struct{}, 1)
	for range looping {
		go func() {
			for ctx.Err() == nil {
				after := a.once(ctx, transport, t)
				if after < 0 {
					continue
				}
				select {
				case refused <- struct{}{}:
				default:
				}
				if a.obeys {
					sleep(ctx, after)
				}
			}
		}()
	}
	report := attackReport{Waiting: looping, Ends: map[string]int{}}
	select {
	case <-refused:
		report.Ends["refused"] = 1
	case <-time.After(t.Loops):
	case <-ctx.Done():
		return nil
	}
	if err := writeReport(t.Report, report); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// once sends a request of a loop. It returns what a 429 says about when to come back, and -1
// for any other end.
func (a *attack) once(ctx context.Context, transport *http.Transport, t *attackTask) time.Duration {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+a.path(&t.World, 0), nil)
	if err != nil {
		return -1
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return -1
	}
	_, _ = copyAll(answer.Body)
	_ = answer.Body.Close() // nothing is wanted of it
	if answer.StatusCode != http.StatusTooManyRequests {
		return -1
	}
	seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// sleep returns early if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// gaveUp: a request that ends later has waited, for a token as long as the proxy
// waits for an issuer, which is 5 s.
const gaveUp = 4 * time.Second

// send sends a request. Of an answer that nobody reads it takes the head only.
// It returns how the request ended.
func (a *attack) send(ctx context.Context, transport *http.Transport, t *attackTask, tokens *asker, i int, sent *atomic.Int64) string {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }})
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if a.body {
		method = http.MethodPost
		body, _ = io.Pipe()
	}
	r, err := http.NewRequestWithContext(ctx, method, t.URL+a.path(&t.World, i), body)
	if err != nil {
		return err.Error()
	}
	if a.body {
		r.ContentLength = 100
	}
	if a.token {
		r.Header.Set("Authorization", "Bearer "+tokens.jwt(t.World.Silent))
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return "without an answer"
	}
	switch {
	case !a.unread:
		_, _ = copyAll(answer.Body)
	case answer.StatusCode == http.StatusOK:
		<-ctx.Done()
	}
	_ = answer.Body.Close() // nothing is wanted of it
	return answer.Status
}

// neighbours measures what every attack costs somebody else, beside none in the
// same round.
func (b *bench) neighbours(ctx context.Context) error {
	for i := range attacks {
		a := &attacks[i]
		if b.attack == 0 || !b.wants(a.name) {
			continue
		}
		targets := b.wanted(ours, incumbent)
		if a.plain {
			targets = b.wanted(ours, incumbent, floor)
		}
		w, end, err := b.hostileWorld(ctx)
		if err != nil {
			return err
		}
		for round := range b.attackRounds {
			b.progress(fmt.Sprintf("%s: round %d of %d", a.name, round+1, b.attackRounds))
			for n := range targets {
				if err := b.neighbour(ctx, a, targets[(n+round)%len(targets)], w, round); err != nil {
					end()
					return err
				}
			}
		}
		end()
	}
	return nil
}

// neighbour measures one attack on one target, which is new, in one round.
func (b *bench) neighbour(ctx context.Context, a *attack, t target, w *world, round int) error {
	r, _, err := b.start(ctx, t, w)
	if err != nil {
		return err
	}
	defer r.stop()
	task := loadTask{World: *w, URL: r.url, PID: r.pid, Kind: small, Workers: 4, Warm: b.warm, Measure: 2 * b.measure, Tolerant: true}
	before, _, err := b.load(ctx, task)
	if err != nil {
		return fmt.Errorf("%s, %s, before: %w", a.name, t, err)
	}
	attacking := attackTask{Report: b.file("attack.json"), URL: r.url, World: *w, Attack: a.name, Requests: b.attack, Loops: b.loops}
	var report attackReport
	p, err := b.part(ctx, "attack", attacking.Report, attacking, &report)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", a.name, t, err)
	}
	defer p.Kill()
	if !a.loops {
		if err := b.awaitRest(ctx, r.pid, p.PID()); err != nil {
			return fmt.Errorf("%s, %s: the attack does not come to rest: %w", a.name, t, err)
		}
	}
	if err := awaitReport(ctx, p, attacking.Report, &report); err != nil {
		return err
	}
	during, _, err := b.load(ctx, task)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", a.name, t, err)
	}
	b.progress(fmt.Sprintf("%s: p99 %.1f ms, then %.1f ms; CPU %.0f µs a request, then %.0f; %d requests wait, ended: %v", t, 1e3*before.P99, 1e3*during.P99,
		1e6*before.CPU/float64(before.Requests), 1e6*during.CPU/float64(during.Requests), report.Waiting, report.Ends))
	add := func(metric, unit string, value float64) {
		b.results.add(sample{Measure: a.name, Metric: metric, Unit: unit, Target: t, Round: round, Value: value})
	}
	add(metricRatio, "×", during.P99/before.P99)
	add("refused", "%", 100*float64(during.Refused)/float64(during.Refused+during.Requests))
	if !a.loops {
		add(fmt.Sprintf("waiting of %d", b.attack), "requests", float64(report.Waiting))
	}
	return nil
}

// awaitRest waits until, for as long as the plan says, processes use less than a tenth of
// a CPU each: until what is left of an attack only waits.
func (b *bench) awaitRest(ctx context.Context, pids ...int) error {
	const times = 4
	every := b.rest / times
	last, quiet := make([]time.Duration, len(pids)), 0
	return await(ctx, patience, every, func() (bool, error) {
		quiet++
		for i, pid := range pids {
			now := cpuTime(pid)
			if now-last[i] >= every/10 {
				quiet = 0
			}
			last[i] = now
		}
		return quiet > times, nil
	})
}

// hostileWorld is one with a host that never answers, as a mount and as the
// issuer of a type.
func (b *bench) hostileWorld(ctx context.Context) (*world, func(), error) {
	return b.worldOf(ctx, worldTask{Workspaces: min(b.workspaces, 100), Hostile: true})
}

// addHostile puts that host, and the attacker's workspaces, into a world.
func (w *world) addHostile(ctx context.Context, k *standin.KCP, dir string) error {
	host, err := silent(ctx, k, dir)
	if err != nil {
		return err
	}
	k.Root.PutMount("root", "away", host)
	k.Root.PutConfiguration("root", hangingType, standin.Object{
		"issuer":        standin.Object{"url": host, "audiences": []string{audience}, "certificateAuthority": string(k.ServingCA.PEM)},
		"claimMappings": standin.Object{"username": standin.Object{"claim": "sub", "prefix": ""}},
	})
	k.Root.PutType("root", hangingType, hangingType)
	k.Root.PutType("root", openType)
	for i := range attackedWorkspaces {
		putWorkspace(k.Root, w.Workspaces+i, hangingType, 0)
		putWorkspace(k.Root, w.Workspaces+attackedWorkspaces+i, openType, 0)
	}
	w.Silent = host
	w.MountHosts = filepath.Join(dir, "mount-hosts.yaml")
	if err := os.WriteFile(w.MountHosts, fmt.Appendf(nil, "- url: %s\n  backend_server_ca: %s\n", host, k.ServingCA.File), 0o600); err != nil {
		return err
	}
	mapping, err := os.OpenFile(w.Mapping, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = mapping.WriteString(k.MappingEntry("/mapped/"))
	return errors.Join(err, mapping.Close())
}

// silent serves, until ctx ends, nothing: it takes requests and never answers.
func silent(ctx context.Context, k *standin.KCP, dir string) (url string, err error) {
	pair, err := k.ServingCA.Serving(dir, "silent")
	if err != nil {
		return "", err
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return "", err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends with the process
	return "https://" + listener.Addr().String(), nil
}
