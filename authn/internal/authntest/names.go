package authntest

import "fmt"

// Names are n different texts of so many bytes at least.
func Names(n, size int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%0*d", size, i)
	}
	return out
}
