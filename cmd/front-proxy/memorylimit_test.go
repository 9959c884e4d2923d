package main

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"k8s.io/klog/v2"
)

func TestMemoryLimitFollowsTheContainers(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	failing := func() (uint64, error) { return 0, errors.New("no cgroups") }
	for name, tc := range map[string]struct {
		container memlimit.Provider
		variable  string
		want      int64
	}{
		"a limit":           {memlimit.Limit(1000 << 20), "", 900 << 20},
		"none":              {func() (uint64, error) { return 0, memlimit.ErrNoLimit }, "", math.MaxInt64},
		"not known":         {failing, "", 5 << 30},
		"GOMEMLIMIT is set": {memlimit.Limit(1000 << 20), "5GiB", 5 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(5 << 30)
			t.Setenv("GOMEMLIMIT", tc.variable)
			if tc.variable == "" {
				_ = os.Unsetenv("GOMEMLIMIT") // until the test ends
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			followMemoryLimit(ctx, tc.container, klog.Logger{})
			if got := debug.SetMemoryLimit(-1); got != tc.want {
				t.Errorf("%d bytes, want %d", got, tc.want)
			}
		})
	}
}

func TestConnectionsFitIntoMemory(t *testing.T) {
	for _, c := range []struct {
		files  uint64
		memory int64
		want   int
	}{
		{1024, math.MaxInt64, 512},
		{1024, 16 << 20, 256},
		{1 << 20, 1 << 30, 1 << 14},
		{math.MaxUint64, math.MaxInt64, math.MaxInt32},
	} {
		if got := mostConnections(c.files, c.memory); got != c.want {
			t.Errorf("%d files, %d bytes: %d connections, want %d", c.files, c.memory, got, c.want)
		}
	}
}

// TestMemoryLimitIsPassedOn: at once, and to what it is called for.
func TestMemoryLimitIsPassedOn(t *testing.T) {
	before := debug.SetMemoryLimit(3 << 30)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	ctx, cancel := context.WithCancel(t.Context())
	var got int64
	if err := passOnMemoryLimit(ctx, func(bytes int64) { got = bytes; cancel() }); err != nil {
		t.Fatal(err)
	}
	if got != 3<<30 {
		t.Errorf("%d bytes", got)
	}
}
