package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"net"

	"frontproxy/internal/clip"
	"frontproxy/internal/egress"
)

// fault is an error with words for the owner of a configuration, who chose the issuer's
// URLs but must not learn about the operator's networks. The words hold no text that a server sent.
type fault struct {
	words string
	err   error
}

// Error implements error: it is for operators.
func (f *fault) Error() string { return f.err.Error() }

func (f *fault) Unwrap() error { return f.err }

// How errors name the documents of an issuer.
const (
	discoveryStep = "discovery"
	keysStep      = "keys"
)

// stepError says which document could not be used.
type stepError struct {
	step string
	err  error
}

func (s *stepError) Error() string { return s.step + ": " + s.err.Error() }

func (s *stepError) Unwrap() error { return s.err }

// failure is what is kept of an error until the issuer is read again. The error itself may hold what
// a server sent: its certificates, a line that is not HTTP, or where it redirects to.
type failure struct {
	text, words string
	noUsableKey bool
}

// newFailure returns what is kept of err; nil for nil.
func newFailure(err error) error {
	if err == nil {
		return nil
	}
	return &failure{clip.Clone(err.Error(), 500), clip.Clone(faultOf(err), 500), errors.Is(err, errNoUsableKey)}
}

// Error implements error: it is for operators.
func (f *failure) Error() string { return f.text }

// Is is called by errors.Is: of the errors that are kept, only errNoUsableKey can be told apart.
func (f *failure) Is(target error) bool { return f.noUsableKey && target == errNoUsableKey }

// faultOf says in words why an issuer could not be read; empty for nil.
func faultOf(err error) string {
	var kept *failure
	switch {
	case err == nil:
		return ""
	case errors.As(err, &kept):
		return kept.words
	case errors.Is(err, errNoUsableKey): // it says what is wrong with the keys, and nothing else
		return err.Error()
	}
	document := "its documents"
	var step *stepError
	if errors.As(err, &step) {
		document = map[string]string{discoveryStep: "its discovery document", keysStep: "its keys"}[step.step]
	}
	return document + ": " + wordsFor(err)
}

func wordsFor(err error) string {
	var known *fault
	var dns *net.DNSError
	var certificate x509.CertificateInvalidError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var network net.Error
	switch {
	case errors.As(err, &known):
		return known.words
	case errors.Is(err, egress.ErrRefused), errors.As(err, &dns): // told apart, they would show which names exist in closed networks
		return "the server's name could not be resolved, or the operator of the proxy does not allow connections to its address"
	case errors.As(err, &authority):
		return "the server's certificate is signed by an unknown authority; spec.jwt[].issuer.certificateAuthority names a CA"
	case errors.As(err, &name):
		return "the server's certificate is for other names"
	case errors.As(err, &certificate):
		return "the server's certificate is expired, not valid yet, or not for servers"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "the server did not answer in time"
	case errors.Is(err, egress.ErrAnswer):
		return "the server's answer is too large"
	}
	return "the server could not be reached, or its answer could not be read"
}
