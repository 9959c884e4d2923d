package serviceaccount

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// keyFileFlag names the files in errors.
const keyFileFlag = "--service-account-key-file"

// KeyFiles are the keys of PEM files, followed while Run runs.
type KeyFiles struct {
	*filewatch.File[*keyFilesState]
}

type keyFilesState struct {
	*KeySet
	generation uint64
}

// NewKeyFiles reads the files (--service-account-key-file); each must have a
// key. A nil clock is the real one.
func NewKeyFiles(files []string, clk clock.Clock, log klog.Logger) (*KeyFiles, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no file", keyFileFlag)
	}
	var last *keyFilesState
	file, err := filewatch.New(filewatch.Config[*keyFilesState]{
		Name: strings.TrimPrefix(keyFileFlag, "--"),
		Load: func(_ context.Context, read filewatch.ReadFunc) (*keyFilesState, error) {
			keys, err := readKeys(files, read)
			if err != nil {
				return nil, err
			}
			switch {
			case last == nil:
				last = &keyFilesState{keys, 1}
			case !last.equal(keys):
				last = &keyFilesState{keys, last.generation + 1}
			}
			return last, nil
		},
		Clock: clk, Log: log,
	})
	return &KeyFiles{file}, err
}

// Keys implements Keys.
func (f *KeyFiles) Keys(id string) []Key { return f.Get().Keys(id) }

// Generation implements Keys.
func (f *KeyFiles) Generation() uint64 { return f.Get().generation }

func readKeys(files []string, read filewatch.ReadFunc) (*KeySet, error) {
	var all []Key
	for _, file := range files {
		text, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keyFileFlag, err)
		}
		keys, err := ParseKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", keyFileFlag, file, err)
		}
		all = append(all, keys...)
	}
	return NewKeySet(all...), nil
}
