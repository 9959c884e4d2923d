package harness

import "testing"

// TestPortsOfProcesses: two processes are never told the same port, nor is one told the
// same port soon again.
func TestPortsOfProcesses(t *testing.T) {
	var one, other ports
	defer func() { _, _ = one.block.Close(), other.block.Close() }()
	told := map[int]bool{}
	for range portsInBlock / 4 {
		for _, p := range []*ports{&one, &other} {
			port, err := p.pick()
			if err != nil {
				t.Fatal(err)
			}
			if told[port] {
				t.Errorf("%d is told twice", port)
			}
			told[port] = true
		}
	}
}
