package filewatch

import "sync/atomic"

// status is the result of the last reading of files. The zero value has no failure.
// Safe for concurrent use; reading it never waits for a reading of files.
type status struct{ failed atomic.Pointer[error] }

// set records the result of a reading; nil is a success. news reports whether err is
// a failure that the previous reading did not have, so that repeated failures are
// logged once.
func (s *status) set(err error) (news bool) {
	before := s.lastError()
	if err == nil {
		s.failed.Store(nil)
		return false
	}
	s.failed.Store(&err)
	return before == nil || before.Error() != err.Error()
}

// lastError returns why the last seen content of the files cannot be used; nil if it
// is in use.
func (s *status) lastError() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}
