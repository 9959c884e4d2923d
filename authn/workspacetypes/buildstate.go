package workspacetypes

// buildState says how far a configuration of an Index got; operators see its
// ShownState. It is changed by transition only, according to this table, which
// buildState.after is; in a state that a row does not name, its event changes nothing.
//
//	event                         in state                               then
//	good spec, a type names it    any                                    Queued
//	good spec, no type names it   any                                    Unused
//	bad spec                      any                                    Invalid
//	object deleted                any                                    Missing
//	first type names it           Unused                                 Queued
//	last type leaves              Queued Building Failed Waiting Ready   Unused
//	its turn comes                Queued                                 Building
//	build succeeds                Building                               Waiting
//	build fails                   Building                               Failed
//	pause is over                 Failed                                 Queued
//	it takes over                 Waiting                                Ready
//
// A spec that is equal to the one before is no event. What serves meanwhile has a
// life of its own, see configEntry.inUse and handOver.
type buildState string

// The states.
const (
	// stateMissing: there is no such object. The entry is kept while a type names it.
	stateMissing buildState = "Missing"
	// stateInvalid: the spec is not to be built, see configObject.err.
	stateInvalid buildState = "Invalid"
	// stateUnused: no type names it, so it is not built.
	stateUnused buildState = "Unused"
	// stateQueued: it is in Index.todo.
	stateQueued buildState = "Queued"
	// stateBuilding: it is being built. If it leaves this state before that is over,
	// what was built is thrown away.
	stateBuilding buildState = "Building"
	// stateFailed: the last build failed. It is in Index.retry, see configEntry.failure.
	stateFailed buildState = "Failed"
	// stateWaiting: it is built, and waits for the keys of issuers that take over
	// from others, see handOver.
	stateWaiting buildState = "Waiting"
	// stateReady: it serves as its spec says.
	stateReady buildState = "Ready"
)

// buildEvent is what happens to a configuration.
type buildEvent string

// The events.
const (
	eventSpec       buildEvent = "good spec, a type names it"
	eventUnusedSpec buildEvent = "good spec, no type names it"
	eventBadSpec    buildEvent = "bad spec"
	eventDeleted    buildEvent = "object deleted"
	eventNamed      buildEvent = "first type names it"
	eventUnnamed    buildEvent = "last type leaves"
	eventTurn       buildEvent = "its turn comes"
	eventBuilt      buildEvent = "build succeeds"
	eventFailed     buildEvent = "build fails"
	eventDue        buildEvent = "pause is over"
	eventTakesOver  buildEvent = "it takes over"
)

// after returns the state that e leads to: s itself if e means nothing in it.
func (s buildState) after(e buildEvent) buildState {
	switch {
	case e == eventSpec:
		return stateQueued
	case e == eventUnusedSpec:
		return stateUnused
	case e == eventBadSpec:
		return stateInvalid
	case e == eventDeleted:
		return stateMissing
	case e == eventNamed && s == stateUnused:
		return stateQueued
	case e == eventUnnamed && s != stateMissing && s != stateInvalid:
		return stateUnused
	case e == eventTurn && s == stateQueued:
		return stateBuilding
	case e == eventBuilt && s == stateBuilding:
		return stateWaiting
	case e == eventFailed && s == stateBuilding:
		return stateFailed
	case e == eventDue && s == stateFailed:
		return stateQueued
	case e == eventTakesOver && s == stateWaiting:
		return stateReady
	}
	return s
}

// specEvent is what c's present spec means to it when it is new.
func (c *configEntry) specEvent() buildEvent {
	switch {
	case c.object.err != nil:
		return eventBadSpec
	case len(c.users) == 0:
		return eventUnusedSpec
	}
	return eventSpec
}

// transition has e happen to c. What only the state that it leaves may have ends, and
// what the new state asks for begins. The caller holds mu, has set what the new state
// needs, and publishes c.
func (i *Index) transition(c *configEntry, e buildEvent) {
	from := c.state
	c.state = from.after(e)
	if c.state == from {
		return
	}
	switch from {
	case stateFailed:
		delete(i.retry, c)
	case stateWaiting:
		if c.state != stateReady {
			c.handOver.next.Close()
			c.handOver.next = nil
		}
	}
	switch c.state {
	case stateQueued:
		i.todo.push(c)
		i.wakeUp()
	case stateFailed:
		i.retry[c] = struct{}{}
	case stateReady:
		i.takeOver(c)
	}
}
