package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is how much CPU a process has used, in user mode and in the kernel,
// all threads together, those that have ended included: the kernel's clock of
// that process, which counts nanoseconds where /proc/<pid>/stat counts
// hundredths of a second. It is 0 for a process that is none.
func cpuTime(pid int) time.Duration {
	if pid <= 0 {
		return 0
	}
	const scheduled = 2                 // CPUCLOCK_SCHED
	clock := int32(^pid)<<3 | scheduled //nolint:gosec // as clock_getcpuclockid makes it
	var t unix.Timespec
	if unix.ClockGettime(clock, &t) != nil { // it is gone
		return 0
	}
	return time.Duration(t.Nano())
}

// memory is a process's, in bytes.
type memory struct{ resident, peak int64 }

func memoryOf(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("read a process's memory: %w", err)
	}
	var m memory
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			continue
		}
		n, _ := strconv.ParseInt(string(fields[0]), 10, 64) // other lines hold text
		switch string(name) {
		case "VmRSS":
			m.resident = n << 10
		case "VmHWM":
			m.peak = n << 10
		}
	}
	return m, nil
}
