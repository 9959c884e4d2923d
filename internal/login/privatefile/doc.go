// Package privatefile stores files that only their owner can read. They are written atomically and
// locked between processes.
package privatefile
