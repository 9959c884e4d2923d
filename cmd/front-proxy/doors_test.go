package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
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
