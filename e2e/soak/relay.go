package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
)

// relay is another address of a shard.
type relay struct {
	url, target string
	listener    net.Listener
	running     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	conns  map[net.Conn]bool
}

func newRelay(shard string) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{url: "https://" + listener.Addr().String(), target: strings.TrimPrefix(shard, "https://"), listener: listener, conns: map[net.Conn]bool{}}
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.pass(conn) })
		}
	})
	return r, nil
}

// pass copies both ways until either ends.
func (r *relay) pass(conn net.Conn) {
	defer r.drop(conn)
	next, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.target)
	if err != nil || !r.keep(conn) || !r.keep(next) {
		if next != nil {
			r.drop(next)
		}
		return
	}
	defer r.drop(next)
	r.running.Go(func() {
		_, _ = io.Copy(next, conn)
		r.drop(next)
	})
	_, _ = io.Copy(conn, next)
}

func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = true
	return !r.closed
}

func (r *relay) drop(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
	_ = conn.Close()
}

// close cuts all connections.
func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}
