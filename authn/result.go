package authn

import "net/http"

// Result is what was decided, in a word: "admitted", "passed-through", "undecided" or
// "refused".
func (d *Decision) Result() string {
	switch {
	case d.User != nil:
		return "admitted"
	case d.PassThrough:
		return "passed-through"
	case d.Status == http.StatusServiceUnavailable:
		return "undecided"
	}
	return "refused"
}
