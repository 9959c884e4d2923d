package shards

import (
	"errors"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPauseAfterARestart: a server that was away for long and comes back is not left
// alone for as long again because its cache is behind its storage at first.
func TestPauseAfterARestart(t *testing.T) {
	away := errors.New("connection refused")
	gone := &answerError{metav1.Status{Code: http.StatusGone, Reason: metav1.StatusReasonExpired}}
	b := Backoff{First: time.Second, Max: time.Minute}
	var r retries
	for i, step := range []struct {
		err  error
		most time.Duration // the pause is between the half of it and all
	}{
		{away, time.Second}, {away, 2 * time.Second}, {away, 4 * time.Second}, {away, 8 * time.Second},
		{gone, 0}, {gone, time.Second}, {gone, 2 * time.Second}, {gone, 4 * time.Second},
		{away, time.Second}, {gone, 8 * time.Second},
	} {
		if wait := r.after(step.err, b); wait < step.most/2 || wait > step.most {
			t.Errorf("step %d, %v: the pause is %s, want up to %s", i, step.err, wait, step.most)
		}
	}
}
