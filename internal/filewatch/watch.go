package filewatch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// every is how often files are looked at without an event.
	every = time.Minute
	// settle is how long to let a burst of events end before looking.
	settle = 100 * time.Millisecond
)

// Watch calls look when one of the files may have changed, and every minute,
// until ctx ends. It calls look once at its start, for what changed since the
// caller read the files. look must be quick when nothing has changed; calls
// never overlap. When events can't be had, the intervals remain.
func Watch(ctx context.Context, clk clock.Clock, log klog.Logger, files []string, look func()) {
	events, closeEvents := subscribe(log, files)
	defer closeEvents()
	look()
	for {
		timer := clk.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-events:
			if !drain(ctx, clk, events) {
				timer.Stop()
				return
			}
		}
		timer.Stop()
		look()
	}
}

// WatchAll is Watch for files that may become others when they are looked at:
// those that files name.
func WatchAll(ctx context.Context, clk clock.Clock, log klog.Logger, files func() []string, look func()) {
	for ctx.Err() == nil {
		watched := files()
		watching, stop := context.WithCancel(ctx)
		Watch(watching, clk, log, watched, func() {
			look()
			if !slices.Equal(watched, files()) {
				stop()
			}
		})
		stop()
	}
}

// drain swallows the events of the next moment; false when ctx ended.
func drain(ctx context.Context, clk clock.Clock, events <-chan fsnotify.Event) bool {
	timer := clk.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C():
			return true
		case <-events:
		}
	}
}

// subscribe returns a channel of events; nil (never ready) when there are none.
func subscribe(log klog.Logger, files []string) (<-chan fsnotify.Event, func()) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Info("No file events; files are looked at every minute", "err", err)
		return nil, func() {}
	}
	var dirs []string
	for _, file := range files {
		dirs = append(dirs, filepath.Dir(file))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := watcher.Add(dir); err != nil {
			log.Info("No file events for a directory; its files are looked at every minute", "err", fmt.Errorf("watch %q: %w", dir, err))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for err := range watcher.Errors { // an overflow: the next look sees it all
			log.V(4).Info("File events were lost", "err", err)
		}
	}()
	return watcher.Events, func() {
		_ = watcher.Close()
		<-done
	}
}
