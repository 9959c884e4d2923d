package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are tried in this range, below where Linux takes ports for outgoing
// connections (32768 and up).
const lowestPort, highestPort = 20000, 32000

// ports hands out ports of 127.0.0.1, none twice.
type ports struct {
	mu    sync.Mutex // guards taken
	taken map[int]bool
}

func (p *ports) pick() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 200 {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // no secret
		if p.taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // somebody else has it
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("pick a port: %w", err)
		}
		p.taken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port found in %d to %d", lowestPort, highestPort)
}
