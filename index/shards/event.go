package shards

import (
	"encoding/json"
	"errors"
)

// event is one frame of a watch. Its object is a part of the frame and is not parsed.
type event struct {
	Type   string
	Object json.RawMessage
}

var errNoEvent = errors.New("the watch contains a frame that is not an event")

// read sets e to the event in a frame. As in the rest of encoding/json, the last of
// several fields with the same name counts.
func (e *event) read(frame []byte) error {
	*e = event{}
	s := scanner{in: frame}
	ok := s.object(func(key []byte) bool {
		start := s.at
		if !s.skip() {
			return false
		}
		switch string(key) {
		case `"object"`:
			e.Object = frame[start:s.at]
		case `"type"`:
			e.Type = eventType(frame[start:s.at])
		}
		return true
	})
	if !ok {
		return errNoEvent
	}
	return nil
}

// eventType returns a known type in its quotes, or "". No known type has an escape.
func eventType(quoted []byte) string {
	for _, known := range [...]string{"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"} {
		if n := len(quoted) - 1; n > 0 && quoted[0] == '"' && string(quoted[1:n]) == known {
			return known
		}
	}
	return ""
}
