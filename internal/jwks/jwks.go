package jwks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// Accept is the Accept header for discovery documents and key sets. Kubernetes' API
// servers send key sets only as application/jwk-set+json, other servers as
// application/json, and a few as any type.
const Accept = "application/jwk-set+json, application/json, */*;q=0.5"

// Entry is one entry of a key set.
type Entry struct {
	// Key is a public key; nil if Err says why the entry has none. It has no
	// certificates.
	Key *jose.JSONWebKey
	// ID is the entry's key ID, as far as it could be read.
	ID  string
	Err error
}

// Parse reads a key set of at most this many entries and returns each at its index.
// An error means that the document is not a key set, or has more entries.
func Parse(body []byte, most int) ([]Entry, error) {
	var document struct {
		Keys json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	if document.Keys == nil {
		return nil, errors.New(`not a JSON Web Key Set: "keys" is missing`)
	}
	// One by one: a list of all entries could take many times the memory of their text.
	list := json.NewDecoder(bytes.NewReader(document.Keys))
	if begin, _ := list.Token(); begin != json.Delim('[') {
		return nil, errors.New(`not a JSON Web Key Set: "keys" is no list`)
	}
	var entries []Entry
	for list.More() {
		if len(entries) == most {
			return nil, fmt.Errorf("more than %d keys", most)
		}
		var raw json.RawMessage
		if err := list.Decode(&raw); err != nil { // not reached: Unmarshal has seen it
			return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
		}
		entries = append(entries, parse(raw))
	}
	return entries, nil
}

// members are the members of a public key that are used.
type members struct {
	Type      json.RawMessage `json:"kty,omitempty"`
	ID        json.RawMessage `json:"kid,omitempty"`
	Use       json.RawMessage `json:"use,omitempty"`
	Algorithm json.RawMessage `json:"alg,omitempty"`
	Curve     json.RawMessage `json:"crv,omitempty"`
	X         json.RawMessage `json:"x,omitempty"`
	Y         json.RawMessage `json:"y,omitempty"`
	N         json.RawMessage `json:"n,omitempty"`
	E         json.RawMessage `json:"e,omitempty"`
}

// parse removes the unused members from an entry and lets go-jose read the rest.
func parse(raw json.RawMessage) Entry {
	// Checked first, in any case of letters: private and secret keys are neither used
	// nor passed on.
	var private struct {
		K, D, P, Q, DP, DQ, QI, Priv json.RawMessage
	}
	if err := json.Unmarshal(raw, &private); err != nil {
		return Entry{Err: err}
	}
	var used members
	if err := josejson.Unmarshal(raw, &used); err != nil { // case-sensitive names, without duplicates, as in go-jose
		return Entry{Err: err}
	}
	var id string
	_ = json.Unmarshal(used.ID, &id)
	for _, parameter := range []json.RawMessage{private.K, private.D, private.P, private.Q, private.DP, private.DQ, private.QI, private.Priv} {
		if parameter != nil {
			return Entry{ID: id, Err: errors.New("is symmetric or private")}
		}
	}
	text, err := json.Marshal(used)
	if err != nil {
		return Entry{ID: id, Err: err}
	}
	key := new(jose.JSONWebKey)
	if err := key.UnmarshalJSON(text); err != nil {
		return Entry{ID: id, Err: err}
	}
	return Entry{Key: key, ID: id}
}
