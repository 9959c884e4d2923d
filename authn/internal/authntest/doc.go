// Package authntest has set-up code for the tests of several packages below authn. Only tests
// import it.
package authntest
