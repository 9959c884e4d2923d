package tokencache

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"frontproxy/internal/login/privatefile"
)

// Tokens are the tokens that an issuer issued.
type Tokens struct {
	IDToken string `json:"idToken,omitempty"`
	// RefreshToken is empty if the issuer issued none.
	RefreshToken string `json:"refreshToken,omitempty"`
	// Subject is the ID token's claim sub.
	Subject string `json:"subject,omitempty"`
	// Expiry is when the ID token expires, by this machine's clock.
	Expiry time.Time `json:"expiry"`
}

// Cache stores tokens in a private directory.
type Cache struct{ dir string }

// New does no I/O. The directory must exist before the first call.
func New(dir string) *Cache { return &Cache{dir: dir} }

// Entry has the tokens of one tuple, locked.
type Entry struct {
	path string
	// Unlock releases the entry.
	Unlock func()
}

// Lock locks the entry of a tuple's key, and waits for that until ctx ends. The
// caller must Unlock it.
func (c *Cache) Lock(ctx context.Context, key string) (*Entry, error) {
	path := filepath.Join(c.dir, key+".json")
	unlock, err := privatefile.Lock(ctx, path)
	if err != nil {
		return nil, err
	}
	return &Entry{path, unlock}, nil
}

// Load returns the tokens; if there are none, or the file is broken, it returns empty
// ones.
func (e *Entry) Load() (*Tokens, error) {
	data, err := privatefile.Read(e.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Tokens{}, nil
	case err != nil:
		return nil, err
	}
	t := &Tokens{}
	if json.Unmarshal(data, t) != nil {
		return &Tokens{}, nil
	}
	return t, nil
}

// Save replaces the stored tokens.
func (e *Entry) Save(t *Tokens) error {
	data, err := json.Marshal(t) //nolint:gosec // keeping tokens is what this is for
	if err != nil {
		return err
	}
	return privatefile.Write(e.path, data)
}

// Delete deletes the tokens.
func (e *Entry) Delete() error { return privatefile.Remove(e.path) }
