package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"frontproxy/internal/login/privatefile"
)

// Agreement is a tuple that a user agreed to, and related data.
type Agreement struct {
	Tuple `json:",inline"`
	// Name is the server's name for the issuer.
	Name string `json:"name,omitempty"`
	// ClientSecret is the one that the server published; it is public.
	ClientSecret string `json:"clientSecret,omitempty"`
	// HostCA is the PEM bundle that verified the host; empty means the system's CAs.
	HostCA string `json:"hostCA,omitempty"`
	// Since is when the user agreed.
	Since time.Time `json:"since"`
}

// Store keeps agreements in one file of a private directory.
type Store struct{ path string }

// NewStore does no I/O. The directory must exist before the first call.
func NewStore(dir string) *Store { return &Store{path: filepath.Join(dir, "trust.json")} }

// file is the format of the file.
type file struct {
	Agreements map[string]Agreement `json:"agreements"` // by Tuple.Key
}

func (s *Store) read() (*file, error) {
	f := &file{Agreements: map[string]Agreement{}}
	data, err := privatefile.Read(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s is broken; remove it, and you will be asked again: %w", s.path, err)
	}
	for key, a := range f.Agreements {
		if a.Key() != key {
			return nil, fmt.Errorf("%s has been changed by hand; remove it, and you will be asked again", s.path)
		}
	}
	return f, nil
}

// All returns the agreements in no particular order.
func (s *Store) All() ([]Agreement, error) {
	f, err := s.read()
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(f.Agreements)), nil
}

// Get returns the agreement with the key, or nil.
func (s *Store) Get(key string) (*Agreement, error) {
	f, err := s.read()
	if err != nil {
		return nil, err
	}
	if a, ok := f.Agreements[key]; ok {
		return &a, nil
	}
	return nil, nil
}

// Put stores an agreement and replaces one of the same tuple.
func (s *Store) Put(ctx context.Context, a Agreement) error {
	return s.edit(ctx, func(f *file) { f.Agreements[a.Key()] = a })
}

// Delete deletes an agreement.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.edit(ctx, func(f *file) { delete(f.Agreements, key) })
}

func (s *Store) edit(ctx context.Context, edit func(*file)) error {
	unlock, err := privatefile.Lock(ctx, s.path)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := s.read()
	if err != nil {
		return err
	}
	edit(f)
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return privatefile.Write(s.path, append(data, '\n'))
}
