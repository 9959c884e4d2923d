package serviceaccount

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// keyFileFlag names the files in errors.
const keyFileFlag = "--service-account-key-file"

// KeyFiles are the keys of PEM files, followed while Run runs.
type KeyFiles struct {
	files []string
	log   klog.Logger

	current atomic.Pointer[keyFilesState]

	outcome filewatch.Outcome
	reading sync.Mutex // serialises Reload
}

type keyFilesState struct {
	*KeySet
	generation uint64
}

// NewKeyFiles reads the files (--service-account-key-file); each must have a
// key.
func NewKeyFiles(files []string, log klog.Logger) (*KeyFiles, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no file", keyFileFlag)
	}
	f := &KeyFiles{files: files, log: log}
	return f, f.Reload()
}

// Keys implements Keys.
func (f *KeyFiles) Keys(id string) []Key { return f.current.Load().Keys(id) }

// Generation implements Keys.
func (f *KeyFiles) Generation() uint64 { return f.current.Load().generation }

// Run follows the files until ctx ends.
func (f *KeyFiles) Run(ctx context.Context) error {
	filewatch.Watch(ctx, clock.RealClock{}, f.log, f.files, func() { _ = f.Reload() })
	return nil
}

// Reload reads the files again. On an error, which it also logs, all keys read
// before stay in use.
func (f *KeyFiles) Reload() error {
	f.reading.Lock()
	defer f.reading.Unlock()
	err := f.load()
	if f.outcome.Set(err) && f.current.Load() != nil {
		f.log.Error(err, "Service account keys were not reloaded; those read before stay in use")
	}
	return err
}

func (f *KeyFiles) load() error {
	var all []Key
	for _, file := range f.files {
		text, err := os.ReadFile(file) //nolint:gosec // the operator names it
		if err != nil {
			return fmt.Errorf("%s: %w", keyFileFlag, err)
		}
		keys, err := ParseKeys(text)
		if err != nil {
			return fmt.Errorf("%s %q: %w", keyFileFlag, file, err)
		}
		all = append(all, keys...)
	}
	next := &keyFilesState{KeySet: NewKeySet(all...), generation: 1}
	if old := f.current.Load(); old != nil {
		if old.equal(next.KeySet) {
			return nil
		}
		next.generation = old.generation + 1
		f.log.Info("Service account keys were reloaded", "keys", len(next.all))
	}
	f.current.Store(next)
	return nil
}

// LastError is why the last reading of the files failed; nil when it did not.
func (f *KeyFiles) LastError() error { return f.outcome.LastError() }

// equal compares by id, which is a hash of the key.
func (s *KeySet) equal(o *KeySet) bool {
	for id := range s.byID {
		if len(o.byID[id]) == 0 {
			return false
		}
	}
	return len(s.byID) == len(o.byID)
}
