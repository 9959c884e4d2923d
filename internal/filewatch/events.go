package filewatch

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
)

// renames are the files to which another file was renamed, as far as events show:
// they appeared, and nothing has been written to them under that name since. A file
// that is created in place has content only after a write.
type renames map[string]bool

func (r renames) note(e fsnotify.Event) {
	name := filepath.Clean(e.Name)
	switch {
	case e.Name == "": // events were lost
		clear(r)
	case e.Has(fsnotify.Create):
		r[name] = true
	case e.Has(fsnotify.Write), e.Has(fsnotify.Remove), e.Has(fsnotify.Rename):
		delete(r, name)
	}
}

// subscribe watches the directories of files until stop is called. Without events the
// channels of the watcher are nil.
func subscribe(log klog.Logger, files []string) (watcher *fsnotify.Watcher, stop func()) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Info("No file events; checking files every minute", "err", err)
		return &fsnotify.Watcher{}, func() {}
	}
	var dirs []string
	for _, file := range files {
		dirs = append(dirs, filepath.Dir(file))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := watcher.Add(dir); err != nil {
			log.Info("No file events for a directory; checking its files every minute", "err", fmt.Errorf("watch %q: %w", dir, err))
		}
	}
	return watcher, func() { _ = watcher.Close() }
}
