package workspacetypes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer/issuertest"
)

func queued(q *buildQueue, names ...string) {
	for _, name := range names {
		cluster, rest, _ := strings.Cut(name, "/")
		q.push(&configEntry{name: objectName{cluster, rest}})
	}
}

// TestBuildQueue: owners take turns, one build at a time each, and who took long
// comes after those who did not.
func TestBuildQueue(t *testing.T) {
	var q buildQueue
	queued(&q, "a/1", "a/2", "a/3", "b/1", "c/1", "c/2")
	var order []string
	took := map[string]time.Duration{"a/1": time.Second, "c/1": 3 * time.Second, "a/2": 3 * time.Second}
	for c := q.pop(); c != nil; c = q.pop() {
		name := c.name.cluster + "/" + c.name.name
		order = append(order, name)
		if name == "b/1" {
			queued(&q, "d/1", "b/2")
		}
		q.done(c.name.cluster, took[name])
	}
	if diff := cmp.Diff([]string{"a/1", "b/1", "c/1", "d/1", "b/2", "a/2", "c/2", "a/3"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for range 15 { // 4 s halved so often are less than a millisecond
		q.age()
	}
	if len(q.owners)+len(q.turns) != 0 {
		t.Errorf("left over: %v %v", q.owners, q.turns)
	}
}

func TestBuildQueueOneOfAnOwner(t *testing.T) {
	var q buildQueue
	queued(&q, "a/1", "a/2")
	first := q.pop()
	if c := q.pop(); first == nil || c != nil {
		t.Fatalf("two of one owner: %v %v", first, c)
	}
	queued(&q, "a/3", "b/1")
	if c := q.pop(); c == nil || c.name.cluster != "b" {
		t.Errorf("then %v, want b's", c)
	}
	if c := q.pop(); c != nil {
		t.Errorf("then %v, want none", c.name)
	}
	q.age() // while they build
	q.done("a", 0)
	if c := q.pop(); c == nil || c.name.name != "2" {
		t.Errorf("at last %v, want a/2", c)
	}
}

// TestBuildsOfAnotherOwnerGoOn: an owner whose builds take for ever holds up
// nobody else's.
func TestBuildsOfAnotherOwnerGoOn(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	held := &gatedIssuers{gate: make(chan error), only: "c1"}
	w := newTypeWorld(t, Config{Issuers: held}, "root").synced()
	t.Cleanup(func() { close(held.gate) })
	w.placement.Move("c2", "root")
	for _, name := range []string{"one", "two", "three"} {
		w.SetConfig("root", "c1", name, tokentest.SpecFor(s))
		w.SetType("root", "c1", name, name)
	}
	w.SetConfig("root", "c2", "good", tokentest.SpecFor(s))
	w.SetType("root", "c2", "good", "good")
	w.wantAt("the other owner's configuration to be built", tokentest.Accepted, "c2", "good", s)
}
