package main

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

const (
	// memoryLimitShare is how much of the container's memory the Go runtime may use before
	// it collects garbage more often. The rest is for what the runtime does not count: the
	// program itself and the kernel's buffers of connections.
	memoryLimitShare = 0.9
	// memoryLimitInterval is how often the container's limit is read again: Kubernetes can
	// change it while a pod runs.
	memoryLimitInterval = time.Minute
)

// followMemoryLimit has the runtime's memory limit follow the container's until ctx ends.
// If the environment has GOMEMLIMIT, or AUTOMEMLIMIT=off, the limit stays as it is; AUTOMEMLIMIT can
// also set another share. If the container has no limit, neither has the runtime. No error keeps
// the program from serving.
func followMemoryLimit(ctx context.Context, container memlimit.Provider, log klog.Logger) {
	log = log.WithName("memory")
	limit, err := memlimit.Set(
		memlimit.WithProvider(container), memlimit.WithRatio(memoryLimitShare),
		memlimit.WithRefreshInterval(ctx, memoryLimitInterval), memlimit.WithLogger(slog.New(logr.ToSlogHandler(log.V(4)))),
	)
	switch {
	case err != nil:
		log.Error(err, "Could not set the memory limit; set GOMEMLIMIT to nine tenths of the container's")
	case limit < math.MaxInt64:
		log.Info("The garbage collector tries to keep memory below a limit", "bytes", limit)
	}
}

// memoryLimit is the runtime's memory limit in bytes, which followMemoryLimit or GOMEMLIMIT has set.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) } // a negative limit changes nothing

// passOnMemoryLimit calls set with the runtime's memory limit at once and every minute, until ctx ends.
func passOnMemoryLimit(ctx context.Context, set func(bytes int64)) error {
	wait.UntilWithContext(ctx, func(context.Context) { set(memoryLimit()) }, memoryLimitInterval)
	return nil
}
