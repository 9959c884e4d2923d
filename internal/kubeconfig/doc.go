// Package kubeconfig follows kubeconfigs, so that rotated credentials and CAs, in them or in
// the files that they name, are used without a restart.
//
// It must not know which server a kubeconfig leads to, nor what is asked there.
package kubeconfig
