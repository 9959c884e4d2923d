package destination

// Error says why a request goes nowhere, where neither its path nor the index does.
type Error struct {
	Reason Reason
	// Message is for clients: it has no address.
	Message string
}

func (e *Error) Error() string { return e.Message }

// Reason is the kind of an Error.
type Reason int

// The kinds of errors.
const (
	// NotMapped: no entry of the mapping file has the path.
	NotMapped Reason = iota
	// MountRefused: a mount leads to a URL to which no request is sent.
	MountRefused
	// MountLoop: a mount leads back here, or through too many others.
	MountLoop
	// MountPath: what follows a mount in the path would lead to another host.
	MountPath
	// Misplaced: a shard's virtual workspace URL is another shard's.
	Misplaced
	// NoShard: any shard would do, and none responds now.
	NoShard
)
