package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/proxy/routing"
)

// TestHangingRechecksDelayNobodyElse: thousands of streams whose rechecks never get
// an answer, and one that is revoked, which waits for somebody else. On a fake clock.
func TestHangingRechecksDelayNobodyElse(t *testing.T) {
	t.Parallel()
	issuers := func(owner string, clusters int) func(int) (index.Target, *authn.Decision) {
		return func(i int) (index.Target, *authn.Decision) {
			return onShard("shard-1", fmt.Sprintf("%s-%d", owner, i%clusters), owner), &authn.Decision{User: alice, Authenticator: "workspace-token"}
		}
	}
	account := func(shard string, clusters int) func(int) (index.Target, *authn.Decision) {
		return func(i int) (index.Target, *authn.Decision) {
			return onShard(shard, fmt.Sprintf("%s-%d", shard, i%clusters), "root"), &authn.Decision{User: alice, Authenticator: "token", ServiceAccount: true}
		}
	}
	webhook := func(i int) (index.Target, *authn.Decision) {
		return onShard("shard-1", fmt.Sprintf("webhook-%d", i%1000), "root"), &authn.Decision{User: alice, Authenticator: "token"}
	}
	manyOwners := func(i int) (index.Target, *authn.Decision) {
		return issuers(fmt.Sprintf("hostile-%d", i%500), 1)(i)
	}
	for name, tc := range map[string]struct {
		hanging, revoked func(int) (index.Target, *authn.Decision)
		most             int64 // of the hanging rechecks at a time
	}{
		"one owner's issuer":                               {issuers("hostile", 1000), issuers("other", 1), rechecksAtOnce / 4},
		"one owner's issuer, a service account":            {issuers("hostile", 1000), account("shard-1", 1), rechecksAtOnce / 4},
		"500 owners' issuers":                              {manyOwners, issuers("other", 1), rechecksAtOnce / 2},
		"500 owners' issuers, a service account":           {manyOwners, account("shard-1", 1), rechecksAtOnce / 2},
		"the webhook":                                      {webhook, issuers("other", 1), rechecksAtOnce / 2},
		"the webhook, a service account":                   {webhook, account("shard-1", 1), rechecksAtOnce / 2},
		"a shard's service accounts":                       {account("shard-1", 1000), issuers("other", 1), rechecksAtOnce / 2},
		"a shard's service accounts, one of another shard": {account("shard-1", 1000), account("shard-2", 1), rechecksAtOnce / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hangingRechecks(t, tc.hanging, tc.revoked, tc.most)
			})
		})
	}
}

func onShard(shard, cluster, owner string) index.Target {
	return index.Target{Cluster: cluster, Shard: &shards.Shard{Name: shard}, Type: index.Type{Cluster: owner, Name: "x", Path: owner}}
}

func hangingRechecks(t *testing.T, hanging, revoked func(int) (index.Target, *authn.Decision), most int64) {
	ctx, stop := context.WithCancel(context.Background())
	targets := fakeIndex{}
	var gone atomic.Bool
	var now, peak, all atomic.Int64
	router, err := routing.New(routing.Config{Mappings: &routing.Mappings{}, Index: targets})
	if err != nil {
		t.Fatal(err)
	}
	ss := &streamSupervisor{set: newStreamSet(), log: klog.Background(), router: router, recheckPeriod: defaultRecheckPeriod}
	ss.recheck = func(ctx context.Context, r authn.Request, d *authn.Decision) *authn.Decision {
		if r.Header.Get("Hangs") == "" {
			if gone.Load() {
				return &authn.Decision{Status: http.StatusUnauthorized}
			}
			return nil
		}
		all.Add(1)
		n := now.Add(1)
		for was := peak.Load(); n > was && !peak.CompareAndSwap(was, n); was = peak.Load() {
		}
		<-ctx.Done()
		now.Add(-1)
		return nil
	}
	for i := range 10_000 {
		target, d := hanging(i)
		r := authn.Request{Header: http.Header{"Hangs": {"yes"}}, Target: target}
		targets[target.Cluster] = target
		ss.set.add(&stream{kind: watchStream, end: func() { t.Error("a stream ended that nobody could tell about") }, admittedBy: &streamAuthn{ctx: ctx, request: r, decision: d}})
	}
	ended := make(chan struct{})
	target, d := revoked(0)
	targets[target.Cluster] = target
	st := &stream{kind: watchStream, admittedBy: &streamAuthn{ctx: ctx, request: authn.Request{URL: &url.URL{Path: "/"}, Target: target}, decision: d}}
	st.end = sync.OnceFunc(func() { ss.set.remove(st); close(ended) })
	ss.set.add(st)
	over := make(chan struct{})
	go func() { ss.runRechecks(ctx); close(over) }()
	time.Sleep(2 * time.Minute)
	gone.Store(true)
	begin := time.Now()
	<-ended
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the stream ended %v after it was revoked", took)
	}
	if n := peak.Load(); n > most {
		t.Errorf("%d rechecks hung at a time, want at most %d", n, most)
	}
	if all.Load() < 500 {
		t.Errorf("only %d of the rechecks that hang were made", all.Load())
	}
	stop()
	<-over
}

// TestRecheckQueue queues, begins, ends and removes at random: no bound is exceeded,
// a stream is looked at by one at a time, and nothing is kept of those that are over.
func TestRecheckQueue(t *testing.T) {
	t.Parallel()
	const period = 15 * time.Second
	rnd := rand.New(rand.NewPCG(1, 2))
	s := newStreamSet()
	now := time.Now()
	var active, checking []*stream
	begin := func(st *stream) {
		if st == nil {
			return
		}
		if slices.Contains(checking, st) {
			t.Fatal("a stream is decided about twice at a time")
		}
		checking = append(checking, st)
		if st.flow.running > 1 && st.flow.running > rechecksAtOnce/recheckFlowPart || st.flow.source.running > rechecksAtOnce/recheckSourcePart || s.rechecks.running > rechecksAtOnce {
			t.Fatalf("a flow has %d slots, its source %d, all %d", st.flow.running, st.flow.source.running, s.rechecks.running)
		}
	}
	pick := func(from *[]*stream) *stream {
		i := rnd.IntN(len(*from))
		st := (*from)[i]
		*from = slices.Delete(*from, i, i+1)
		return st
	}
	for range 50_000 {
		switch op := rnd.IntN(10); {
		case op < 3:
			target := onShard("s", fmt.Sprint(rnd.IntN(20)), fmt.Sprint(rnd.IntN(20)))
			d := &authn.Decision{Authenticator: []string{"token", "workspace-token", "x509"}[rnd.IntN(3)], ServiceAccount: rnd.IntN(2) == 0}
			active = append(active, s.add(&stream{kind: watchStream, admittedBy: &streamAuthn{request: authn.Request{Target: target}, decision: d}}))
		case op < 5 && len(active) > 0:
			s.remove(pick(&active))
		case op < 6:
			now = now.Add(time.Second)
			s.queueDue(now, period)
		case op < 8:
			begin(s.nextRecheck())
		case len(checking) > 0:
			begin(s.endRecheck(pick(&checking), rnd.IntN(2) == 0, rnd.IntN(2) == 0))
		}
		if s.rechecks.running != len(checking) {
			t.Fatalf("%d slots are in use, want %d", s.rechecks.running, len(checking))
		}
	}
	if len(checking) == 0 || len(active) < 1000 {
		t.Fatalf("%d streams and %d rechecks are left: the test tests little", len(active), len(checking))
	}
	for len(active) > 0 {
		s.remove(pick(&active))
	}
	for len(checking) > 0 {
		begin(s.endRecheck(pick(&checking), false, true))
	}
	if q := &s.rechecks; q.running != 0 || len(q.sources) != 0 {
		t.Errorf("%d slots and %d sources are kept for streams that are over", q.running, len(q.sources))
	}
}
