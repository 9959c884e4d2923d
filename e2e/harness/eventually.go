package harness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollInterval is how often readiness is asked for.
const pollInterval = 200 * time.Millisecond

// Eventually calls check until it returns nil, at most for timeout, several
// times a second. The error names what was waited for and wraps check's last
// one, but for one that only says that the time is over.
func Eventually(ctx context.Context, timeout time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		var stop permanentError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stop):
			return fmt.Errorf("wait for %s: %w", what, stop.cause)
		case last == nil || ctx.Err() == nil:
			last = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", timeout, what, last)
		}
	}
}

// permanentError ends the wait at once.
type permanentError struct{ cause error }

func (e permanentError) Error() string { return e.cause.Error() }
