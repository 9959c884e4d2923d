package workspacetypes

// configState says how far a configuration of an Index got; operators see its
// ConfigurationState. It is changed by transition only, according to this table, which
// configState.after is; in a state that a row does not name, its event changes nothing.
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
type configState string

// The states.
const (
	// stateMissing: there is no such object. The entry is kept while a type names it.
	stateMissing configState = "Missing"
	// stateInvalid: the spec is not to be built, see configObject.err.
	stateInvalid configState = "Invalid"
	// stateUnused: no type names it, so it is not built.
	stateUnused configState = "Unused"
	// stateQueued: it is in Index.todo.
	stateQueued configState = "Queued"
	// stateBuilding: it is being built. If it leaves this state before that is over,
	// what was built is thrown away.
	stateBuilding configState = "Building"
	// stateFailed: the last build failed. It is in Index.retry, see configEntry.failure.
	stateFailed configState = "Failed"
	// stateWaiting: it is built, and waits for the keys of issuers that take over
	// from others, see handOver.
	stateWaiting configState = "Waiting"
	// stateReady: it serves as its spec says.
	stateReady configState = "Ready"
)

// configEvent is what happens to a configuration.
type configEvent string

// The events.
const (
	eventSpec       configEvent = "good spec, a type names it"
	eventUnusedSpec configEvent = "good spec, no type names it"
	eventBadSpec    configEvent = "bad spec"
	eventDeleted    configEvent = "object deleted"
	eventNamed      configEvent = "first type names it"
	eventUnnamed    configEvent = "last type leaves"
	eventTurn       configEvent = "its turn comes"
	eventBuilt      configEvent = "build succeeds"
	eventFailed     configEvent = "build fails"
	eventDue        configEvent = "pause is over"
	eventTakesOver  configEvent = "it takes over"
)

// after returns the state that e leads to: s itself if e means nothing in it.
func (s configState) after(e configEvent) configState {
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
func (c *configEntry) specEvent() configEvent {
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
func (i *Index) transition(c *configEntry, e configEvent) {
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
