package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports come from here, below where Linux takes ports for outgoing connections (32768
// and up).
const lowestPort, blocks, portsInBlock = 20000, 24, 500

// own hands out the ports of this process.
var own ports

// ports hands out ports of 127.0.0.1. Those of a process are of a block that no other
// process of these tests takes any from, because whoever is handed a port begins to
// listen at it only later.
type ports struct {
	mu    sync.Mutex   // guards what follows
	block net.Listener // nil: none is claimed yet
	first int          // port of the block
	next  int          // port of the block, counted from first
}

// pick is a port that nobody has now. It comes again only when all others of the block
// have been handed out.
func (p *ports) pick() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.claim(); err != nil {
		return 0, err
	}
	for range portsInBlock {
		port := p.first + p.next
		p.next = (p.next + 1) % portsInBlock
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // somebody has it
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("pick a port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port found in %d to %d", p.first, p.first+portsInBlock-1)
}

// claim takes a block, by a socket in Linux' abstract namespace: it is the same
// whatever TMPDIR is, and the kernel removes it when the process ends.
func (p *ports) claim() error {
	if p.block != nil {
		return nil
	}
	for _, n := range rand.Perm(blocks) { //nolint:gosec // no secret
		listener, err := net.Listen("unix", fmt.Sprintf("@front-proxy-test-ports-%d", n))
		if err == nil {
			p.block, p.first = listener, lowestPort+n*portsInBlock
			return nil
		}
	}
	return errors.New("pick a port: as many processes of tests run as there are blocks of ports")
}

// FreePort finds a port of 127.0.0.1 that nobody has now, below those that the
// system gives to outgoing connections, and that no other process is told of.
func FreePort() (int, error) { return own.pick() }
