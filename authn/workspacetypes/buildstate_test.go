package workspacetypes

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/jwt"
)

func allStates() []buildState {
	return []buildState{stateMissing, stateInvalid, stateUnused, stateQueued, stateBuilding, stateFailed, stateWaiting, stateReady}
}

// transitionRow is one of the table in buildState's doc comment.
type transitionRow struct {
	event buildEvent
	from  []buildState
	to    buildState
}

// documentedTransitions reads the table.
func documentedTransitions(t *testing.T) (rows []transitionRow) {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "buildstate.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Doc == nil || d.Tok != gotoken.TYPE {
			continue
		}
		for line := range strings.Lines(d.Doc.Text()) {
			var cells []string
			for cell := range strings.SplitSeq(strings.TrimSpace(line), "  ") {
				if cell = strings.TrimSpace(cell); cell != "" {
					cells = append(cells, cell)
				}
			}
			if !strings.HasPrefix(line, "\t") || len(cells) != 3 || cells[0] == "event" {
				continue
			}
			row := transitionRow{event: buildEvent(cells[0]), from: allStates(), to: buildState(cells[2])}
			if cells[1] != "any" {
				row.from = nil
				for name := range strings.FieldsSeq(cells[1]) {
					row.from = append(row.from, buildState(name))
				}
			}
			rows = append(rows, row)
		}
	}
	if len(rows) != 11 {
		t.Fatalf("%d rows were read: %v", len(rows), rows)
	}
	return rows
}

// The doc comment's table is what the code does, for each state and event.
func TestConfigurationStatesFollowTheirTable(t *testing.T) {
	for _, row := range documentedTransitions(t) {
		for _, s := range allStates() {
			want := s
			if slices.Contains(row.from, s) {
				want = row.to
			}
			if got := s.after(row.event); got != want {
				t.Errorf("%s, %s: then %s, want %s", s, row.event, got, want)
			}
		}
	}
}

// stateWorld is an index that does by itself nothing that Run does, so that a
// configuration stays in each state.
type stateWorld struct {
	*typestest.World
	t          testing.TB
	index      *Index
	pool       *issuer.Pool
	clock      *clocktesting.FakeClock
	good, down *issuertest.Issuer
	fail       *failingIssuers
	spec       int             // that was applied last
	building   func(err error) // ends the build that is under way; nil when none is
}

// failingIssuers fails builds with err.
type failingIssuers struct {
	jwt.Issuers
	err error
}

func (f *failingIssuers) Acquire(trust issuer.IssuerRef, owner string) (*issuer.Issuer, func(), error) {
	if f.err != nil {
		return nil, nil, f.err
	}
	return f.Issuers.Acquire(trust, owner)
}

// newStateWorld has the configuration x of the type team in its first state.
func newStateWorld(t testing.TB, good, down *issuertest.Issuer) *stateWorld {
	t.Helper()
	w := &stateWorld{t: t, clock: clocktesting.NewFakeClock(time.Now()), good: good, down: down}
	w.pool = tokentest.RunPool(t, issuer.Config{})
	w.fail = &failingIssuers{Issuers: w.pool}
	w.index = New(Config{Issuers: w.fail, Clock: w.clock, Placement: &typestest.Placement{Of: map[string]string{"c1": "root"}}})
	w.World = typestest.New(t, w.index.Watches(), "root")
	w.Sync()
	return w
}

// entry is x's; one in stateMissing when there is none.
func (w *stateWorld) entry() *configEntry {
	if c := w.index.shards["root"].configs[objectName{"c1", "x"}]; c != nil {
		return c
	}
	return &configEntry{state: stateMissing}
}

// apply sets x to another spec: odd ones trust the issuer otherwise than even ones.
func (w *stateWorld) apply() {
	w.spec++
	spec := tokentest.With([]string{"app", fmt.Sprint("spec-", w.spec)}, "issuer", "audiences")
	policy := tokentest.With("MatchAny", "issuer", "audienceMatchPolicy")
	if w.spec%2 == 1 {
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(w.good, spec, policy))
		return
	}
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(w.good, spec, policy, tokentest.With(w.down.URL()+issuertest.DiscoveryPath, "issuer", "discoveryURL")))
}

func (w *stateWorld) applyBad() {
	w.spec++
	w.SetConfig("root", "c1", "x", fmt.Sprintf(`{"jwt":%d}`, w.spec))
}

func (w *stateWorld) delete() {
	w.Tables["root"][typestest.ConfigsResource].Delete(w.Decode(typestest.ConfigsResource, "c1", "x", "{}"))
}

func (w *stateWorld) name(named bool) {
	if named {
		w.SetType("root", "c1", "team", "x")
		return
	}
	w.Tables["root"][typestest.TypesResource].Delete(w.TypeOf("c1", "team"))
}

// turn has the next build begin.
func (w *stateWorld) turn() {
	if c, spec, ok := w.index.turn(); ok {
		w.building = func(err error) {
			w.fail.err = err
			w.index.build(c, spec)
		}
	}
}

// finish ends the build that is under way.
func (w *stateWorld) finish(err error) {
	if w.building != nil {
		w.building(err)
		w.building = nil
	}
}

// pass lets time pass, and does what is due then.
func (w *stateWorld) pass(d time.Duration) {
	w.clock.Step(d)
	w.index.requeue(w.clock.Now(), w.clock.Now().Add(sweepEvery))
}

// serveFirst has the first spec serve, with its keys.
func (w *stateWorld) serveFirst() {
	w.apply()
	w.name(true)
	w.turn()
	w.finish(nil)
	w.awaitKeys()
}

// awaitKeys returns when what serves has its keys.
func (w *stateWorld) awaitKeys() { <-w.entry().inUse.authenticators[0].Issuer().Ready() }

// reach takes x to a state.
func (w *stateWorld) reach(s buildState) {
	switch s {
	case stateMissing:
		w.name(true)
		return
	case stateInvalid:
		w.name(true)
		w.applyBad()
		return
	case stateUnused:
		w.apply()
		return
	}
	w.serveFirst()
	if s != stateReady {
		w.apply()
	}
	if s != stateReady && s != stateQueued {
		w.turn()
	}
	switch s {
	case stateFailed:
		w.finish(errors.New("out of luck"))
	case stateWaiting:
		w.finish(nil)
	}
}

// happen has e happen.
func (w *stateWorld) happen(e buildEvent) {
	switch e {
	case eventSpec:
		w.name(true)
		w.apply()
	case eventUnusedSpec:
		w.name(false)
		w.apply()
	case eventBadSpec:
		w.applyBad()
	case eventDeleted:
		w.delete()
	case eventNamed:
		w.name(true)
	case eventUnnamed:
		w.name(false)
	case eventTurn:
		w.turn()
	case eventBuilt:
		w.finish(nil)
	case eventFailed:
		w.finish(errors.New("out of luck"))
	case eventDue:
		w.pass(buildRetry)
	case eventTakesOver:
		w.pass(handOverWait)
	}
}

// check is what holds after each event.
func (w *stateWorld) check(what string) {
	w.t.Helper()
	_, retried := w.index.retry[w.entry()]
	_, changing := w.index.changing[w.entry()]
	c := w.entry()
	serves := len(c.inUse.authenticators) > 0
	for rule, holds := range map[string]bool{
		"an object exactly if it is not missing":       (c.object != configObject{}) == (c.state != stateMissing),
		"an object's error exactly if it is invalid":   (c.object.err != nil) == (c.state == stateInvalid),
		"without a type at rest":                       len(c.users) > 0 || c.state == stateMissing || c.state == stateInvalid || c.state == stateUnused,
		"with a type in use":                           len(c.users) == 0 || c.state != stateUnused,
		"tried again exactly if the build failed":      retried == (c.state == stateFailed) && len(w.index.retry) <= 1,
		"the failure of the present spec":              c.failure == buildFailure{} || slices.Contains([]buildState{stateUnused, stateQueued, stateBuilding, stateFailed}, c.state),
		"a next one exactly if it waits":               (c.handOver.next != nil) == (c.state == stateWaiting),
		"looked at while others are trusted":           changing == !c.handOver.until.IsZero() && len(w.index.changing) <= 1,
		"others are trusted for a time only":           !serves || changing == c.servesOthers(),
		"it waits for others only":                     c.state != stateWaiting || changing,
		"queued if its turn is to come":                c.state != stateQueued || c.queued,
		"what serves is held, and what is held serves": serves == (c.inUse.built != nil),
		"nothing serves for nobody":                    !serves || len(c.users) > 0 && c.state != stateMissing,
		"what is ready serves in its version":          c.state != stateReady || serves && c.inUse.version == c.object.version,
	} {
		if !holds {
			w.t.Fatalf("%s: not %s: %+v", what, rule, c)
		}
	}
}

// end has everything go, and nothing is held then.
func (w *stateWorld) end() {
	w.t.Helper()
	w.delete()
	w.name(false)
	w.finish(nil)
	w.check("at the end")
	if left := w.pool.Status(); len(left) > 0 {
		w.t.Errorf("issuers left: %+v", left)
	}
}

// Each transition of the table by what happens to objects, builds and time. What
// builds takes over at once unless another trust serves, as it does here.
func TestConfigurationTransitions(t *testing.T) {
	good, down := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	for _, row := range documentedTransitions(t) {
		for _, from := range row.from {
			t.Run(fmt.Sprintf("%s: %s", from, row.event), func(t *testing.T) {
				w := newStateWorld(t, good, down)
				w.reach(from)
				w.check("before")
				if got := w.entry().state; got != from {
					t.Fatalf("it is %s: this tests nothing", got)
				}
				w.happen(row.event)
				w.check("after")
				if got := w.entry().state; got != row.to {
					t.Errorf("then %s, want %s", got, row.to)
				}
				w.end()
			})
		}
	}
}

// Random events: what holds of each state holds after each event.
func TestConfigurationStatesRandomEvents(t *testing.T) {
	good, down := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(1, seed))
	reached := map[buildState]bool{}
	w := newStateWorld(t, good, down)
	// Seldom, 5,000 events do not reach every state, and more are needed.
	for n := 0; n < 5000 || len(reached) < len(allStates()) && n < 100_000; n++ {
		var what string
		switch random.IntN(14) {
		case 0, 1:
			what = "a spec"
			w.apply()
		case 2:
			what = "a bad spec"
			w.applyBad()
		case 3:
			what = "deleted"
			w.delete()
		case 4, 5:
			what = "named"
			w.name(true)
		case 6:
			what = "not named"
			w.name(false)
		case 7, 8, 9, 10, 11, 12:
			what = "a build begins or ends"
			if w.building == nil {
				w.turn()
				break
			}
			w.finish([]error{nil, errors.New("out of luck")}[random.IntN(2)])
		case 13:
			what = "time passes"
			w.pass([]time.Duration{handOverPoll, buildRetry, handOverWait}[random.IntN(3)])
		}
		reached[w.entry().state] = true
		w.check(what)
		if w.entry().state == stateReady && w.spec%2 == 1 {
			w.awaitKeys()
		}
	}
	if len(reached) != len(allStates()) {
		t.Errorf("only these states were reached: %v", reached)
	}
	w.end()
}
