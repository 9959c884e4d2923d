package authntest

import "fmt"

// Names are n different texts of at least this many bytes.
func Names(n, size int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%0*d", size, i)
	}
	return out
}
