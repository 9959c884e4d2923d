package shards

import (
	"encoding/json"
	"errors"
)

// event is one frame of a watch. Its object is a part of the frame, and is not
// looked at.
type event struct {
	Type   string
	Object json.RawMessage
}

var errNoEvent = errors.New("the watch contains a frame that is not an event")

// read sets e to the event that a frame is. As everywhere in JSON's decoding, the
// last of several fields of a name counts.
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

// eventType is a type that is known, as it is quoted; else empty. None has an
// escape.
func eventType(quoted []byte) string {
	for _, known := range [...]string{"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"} {
		if n := len(quoted) - 1; n > 0 && quoted[0] == '"' && string(quoted[1:n]) == known {
			return known
		}
	}
	return ""
}
