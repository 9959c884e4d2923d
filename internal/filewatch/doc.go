// Package filewatch follows configuration files while they are in use, and uses only complete
// content.
//
// A change takes effect in one of two cases. Either an atomic swap made it: the symbolic link
// that leads to the file now leads elsewhere (this is how Kubernetes updates mounted Secrets
// and ConfigMaps), or another file was renamed to its name. Or two readings some time apart
// found the same content. So a file that is still being written does not take effect, however
// long it is, and a file that has lost lines does. An empty file never takes effect, because
// files are empty between truncating and writing. If a change does not take effect or cannot
// be used, the last good value stays in use, and the failure is reported.
//
// It must not know what a file means: its user says how to read it.
//
// Files are checked when their directory changes (watching the directory also shows swaps and
// replaced files), and at intervals, because some file systems send no events.
package filewatch
