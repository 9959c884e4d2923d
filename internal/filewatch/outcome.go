package filewatch

import "sync/atomic"

// Outcome is how the last reading of files went. The zero value knows of no
// failure. Safe for concurrent use; asking never waits for a reading.
type Outcome struct{ failed atomic.Pointer[error] }

// Set keeps how a reading went; nil is a success. It returns whether err is a
// failure that the reading before did not have, so that what is tried again and
// again is logged once.
func (o *Outcome) Set(err error) (news bool) {
	before := o.LastError()
	if err == nil {
		o.failed.Store(nil)
		return false
	}
	o.failed.Store(&err)
	return before == nil || before.Error() != err.Error()
}

// LastError is why the files as they were last seen cannot be used; nil when
// they are in use.
func (o *Outcome) LastError() error {
	if err := o.failed.Load(); err != nil {
		return *err
	}
	return nil
}
