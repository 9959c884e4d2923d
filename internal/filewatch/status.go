package filewatch

import "sync/atomic"

// status is how the last reading of files went. The zero value knows of no
// failure. Safe for concurrent use; asking never waits for a reading.
type status struct{ failed atomic.Pointer[error] }

// set keeps how a reading went; nil is a success. It returns whether err is a
// failure that the reading before did not have, so that what is tried again and
// again is logged once.
func (s *status) set(err error) (news bool) {
	before := s.lastError()
	if err == nil {
		s.failed.Store(nil)
		return false
	}
	s.failed.Store(&err)
	return before == nil || before.Error() != err.Error()
}

// lastError is why the files as they were last seen cannot be used; nil when
// they are in use.
func (s *status) lastError() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}
