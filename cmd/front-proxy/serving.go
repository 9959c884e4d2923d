package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/apiserver/pkg/server"

	"frontproxy/internal/certs"
)

// listen follows the serving certificates and starts to listen. Without a certificate
// it creates the self-signed one that kcp-front-proxy would create.
func (p *program) listen(o *options) (*server.SecureServingInfo, error) {
	if err := o.selfSigned(); err != nil {
		return nil, err
	}
	var info *server.SecureServingInfo
	if err := o.serving.ApplyTo(&info); err != nil {
		return nil, fmt.Errorf("serving certificate (--tls-cert-file, --tls-private-key-file, --tls-sni-cert-key) or address (--bind-address, --secure-port): %w", err)
	}
	return info, p.followServing(o, info)
}

// followServing follows the certificates that were read from files. apiserver's own
// providers would use a change as soon as it can be read, complete or not.
func (p *program) followServing(o *options, info *server.SecureServingInfo) error {
	log := p.log.WithName("certificates")
	if main := o.serving.ServerCert.CertKey; main.CertFile != "" {
		pair, err := certs.NewPair("tls-cert-file", main.CertFile, main.KeyFile, nil, nil, log)
		if err != nil {
			return err
		}
		p.follows("tls-cert-file", pair)
		info.Cert = pair
	}
	for i, sni := range o.serving.SNICertKeys {
		flag := fmt.Sprintf("tls-sni-cert-key[%d]", i)
		pair, err := certs.NewPair(flag, sni.CertFile, sni.KeyFile, sni.Names, nil, log)
		if err != nil {
			return err
		}
		p.follows(flag, pair)
		info.SNICerts[i] = pair
	}
	return nil
}

// connectionBytes is how much of the memory limit there must be for each client connection, in
// bytes. An idle one takes about half of that.
const connectionBytes = 64 << 10

// connections returns the limit on client connections; 0: there is none. Go has already raised
// the soft limit on file descriptors to the hard limit.
func (o *options) connections() int {
	var limit syscall.Rlimit
	if o.limits.maxConnections > 0 {
		return o.limits.maxConnections
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return mostConnections(limit.Cur, memoryLimit())
}

// mostConnections is the limit for a process with so many file descriptors and bytes of memory.
func mostConnections(files uint64, memory int64) int {
	return int(min(files/2, uint64(memory)/connectionBytes, math.MaxInt32)) //nolint:gosec // bounded
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
		return fmt.Errorf("a self-signed certificate in %s: %w; set --tls-cert-file and --tls-private-key-file, or a writable --cert-dir", filepath.Clean(dir), err)
	}
	return nil
}
