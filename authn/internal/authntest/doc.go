// Package authntest has what the tests of several packages below authn set up
// alike. Only tests import it.
package authntest
