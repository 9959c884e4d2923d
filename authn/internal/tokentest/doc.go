// Package tokentest runs issuers for tests of token authenticators, and writes the
// configurations that trust them. Only tests import it.
package tokentest
