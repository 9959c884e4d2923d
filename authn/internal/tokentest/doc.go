// Package tokentest runs issuers for the tests of those who judge tokens, and
// writes the configurations that trust them. Only tests import it.
package tokentest
