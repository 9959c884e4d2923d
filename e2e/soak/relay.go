package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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

func newRelay(ctx context.Context, shard string) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
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
			r.running.Go(func() { r.pass(ctx, conn) })
		}
	})
	return r, nil
}

// pass copies both ways until either ends.
func (r *relay) pass(ctx context.Context, conn net.Conn) {
	defer r.drop(conn)
	next, err := new(net.Dialer).DialContext(ctx, "tcp", r.target)
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

// connectionsOf is how many connections a process has to the relay: others follow
// Shard objects, too. See proc_pid_net(5): the tenth field is the socket's inode.
func (r *relay) connectionsOf(pid int) (n int, err error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	remote, inodes := fmt.Sprintf("0100007F:%04X", r.listener.Addr().(*net.TCPAddr).Port), map[string]bool{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[2] == remote {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && inodes[to] {
			n++
		}
	}
	return n, err
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
