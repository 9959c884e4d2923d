// Package privatefile keeps files that are their owner's alone: written whole or
// not at all, readable by nobody else, and locked between processes.
package privatefile
