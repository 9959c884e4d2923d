// Package filewatch tells when configuration files may have changed.
//
// It watches the directories rather than the files, so that it sees what
// Kubernetes does to mounted Secrets and ConfigMaps (it swaps the symbolic link
// ..data) and editors that replace a file. It also looks at intervals, because
// some file systems send no events.
package filewatch
