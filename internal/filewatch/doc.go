// Package filewatch follows configuration files while they are in use, and
// believes only what is complete.
//
// A changed file is taken in one of two cases: an atomic swap brought it (the
// symbolic link that leads to it now leads elsewhere, which is what Kubernetes
// does to mounted Secrets and ConfigMaps, or another file was renamed to its
// name), or two readings some time apart found the same. So a file that somebody
// is still writing is not taken, however long it is, and a file that lost lines
// is. An empty file is never taken: it is what a writer leaves between truncating
// and writing. What cannot be taken or used leaves the last good value in use,
// and is reported.
//
// Files are looked at when their directory changes (their directory and not they
// themselves, so that swaps and replaced files are seen), and at intervals,
// because some file systems send no events.
package filewatch
