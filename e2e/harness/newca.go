package harness

// NewCA makes a CA and writes its certificate to dir/name.crt, for tests
// without an environment.
func NewCA(dir, name string) (*CA, error) { return newCA(dir, name) }
