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
	case e.Name == "": // events were lost, or the channel is closed
		clear(r)
	case e.Has(fsnotify.Create):
		r[name] = true
	case e.Has(fsnotify.Write), e.Has(fsnotify.Remove), e.Has(fsnotify.Rename):
		delete(r, name)
	}
}

// subscribe returns a channel of events; nil (never ready) if there are none. An
// event without a name means that events were lost.
func subscribe(log klog.Logger, files []string) (<-chan fsnotify.Event, func()) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Info("No file events; checking files every minute", "err", err)
		return nil, func() {}
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
	events, stop, done := make(chan fsnotify.Event), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		forward(log, watcher, events, stop)
	}()
	return events, func() {
		close(stop)
		<-done
		_ = watcher.Close()
	}
}

// forward passes events on until stop is closed.
func forward(log klog.Logger, watcher *fsnotify.Watcher, events chan<- fsnotify.Event, stop <-chan struct{}) {
	for {
		var e fsnotify.Event
		select {
		case <-stop:
			return
		case e = <-watcher.Events:
		case err := <-watcher.Errors:
			log.V(4).Info("File events were lost", "err", err)
		}
		select {
		case <-stop:
			return
		case events <- e:
		}
	}
}
