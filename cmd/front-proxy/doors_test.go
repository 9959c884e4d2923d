package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"frontproxy/e2e/standin"
)

// door is a host that counts who connects and says nothing.
type door struct {
	url    string
	knocks atomic.Int64
}

func newDoor(t *testing.T) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	d := &door{url: "https://" + listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.knocks.Add(1)
			_ = conn.Close()
		}
	}()
	return d
}

// clusterName is the n-th name of a logical cluster.
func clusterName(n int) string { return fmt.Sprintf("c%015d", n) }

// certificate is a client certificate that the shards' client CA signs.
func certificate(t *testing.T, k *standin.KCP, user string, groups ...string) tls.Certificate {
	t.Helper()
	pair, err := k.ClientCA.Client(t.TempDir(), user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
