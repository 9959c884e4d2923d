// Package kubeconfig follows kubeconfigs, so that credentials and CAs which are
// rotated in them, or in the files they name, are used without a restart.
package kubeconfig
