package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"k8s.io/apiserver/pkg/server"
)

// listen makes the self-signed certificate that kcp-front-proxy would make when
// none is given, loads the serving certificates and starts to listen.
func (o *options) listen() (*server.SecureServingInfo, error) {
	if err := o.selfSigned(); err != nil {
		return nil, err
	}
	var info *server.SecureServingInfo
	if err := o.serving.ApplyTo(&info); err != nil {
		return nil, fmt.Errorf("serving certificate (--tls-cert-file, --tls-private-key-file, --tls-sni-cert-key) or address (--bind-address, --secure-port): %w", err)
	}
	return info, nil
}

// connections is how many clients may have. Go has raised the soft limit on
// file descriptors to the hard one by now.
func (o *options) connections() int {
	var limit syscall.Rlimit
	if o.maxConnections > 0 {
		return o.maxConnections
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur/2, math.MaxInt32)) //nolint:gosec // bounded
}

func (o *options) selfSigned() error {
	if o.serving.ServerCert.CertKey.CertFile != "" {
		return nil
	}
	dir := o.serving.ServerCert.CertDirectory
	err := os.MkdirAll(dir, 0o700) //nolint:gosec // the operator names it
	if err == nil {
		err = o.serving.MaybeDefaultWithSelfSignedCerts("localhost", []string{"kubernetes.default.svc", "kubernetes.default", "kubernetes"}, nil)
	}
	if err != nil {
		return fmt.Errorf("a self-signed certificate in %s: %w; name files with --tls-cert-file and --tls-private-key-file, or a writable --cert-dir", filepath.Clean(dir), err)
	}
	return nil
}

// servingFiles are those that what is served with and the CAs of clients are
// read from.
func (o *options) servingFiles() []string {
	pair := o.serving.ServerCert.CertKey
	files := []string{pair.CertFile, pair.KeyFile, o.auth.clientCA, o.auth.requestHeaderCA}
	for _, sni := range o.serving.SNICertKeys {
		files = append(files, sni.CertFile, sni.KeyFile)
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}
