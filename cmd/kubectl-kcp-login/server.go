package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"frontproxy/internal/login/issuer"
	"frontproxy/internal/login/trust"
	"frontproxy/internal/protectedresource"
)

const (
	clustersPath = "/clusters/"
	// serverTimeout limits one request to the server.
	serverTimeout = 30 * time.Second
)

// server is a workspace's URL with the CA to verify it.
type server struct {
	url       *url.URL // https://host[:port][/clusters/<workspace>]
	workspace string   // empty: none
	ca        []byte   // PEM; nil: the system's
	client    *http.Client
	pause     time.Duration // undecidedPause
}

// newServer parses a URL as a user types it. It drops the path after the workspace,
// so the URL of any object works.
func newServer(text string, ca []byte) (*server, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("%q is neither a command nor a URL such as https://kcp.example.com/clusters/root:team", text)
	case u.Scheme != "https":
		return nil, fmt.Errorf("%q must begin with https://: without TLS, anybody on the network path could read the token", text)
	case u.User != nil:
		return nil, errors.New("the URL contains a user or a password; remove it")
	}
	s := &server{ca: ca, pause: undecidedPause}
	path := ""
	if rest, ok := strings.CutPrefix(u.Path, clustersPath); ok {
		s.workspace, _, _ = strings.Cut(rest, "/")
		path = clustersPath + s.workspace
	}
	if path == clustersPath || path == "" && strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("the path of the URL must be %s<workspace>, not %q", clustersPath, u.Path)
	}
	base, err := url.Parse(trust.HostOf(u))
	if err != nil {
		return nil, err
	}
	base.Path = path
	s.url = base
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("--certificate-authority: the file has no PEM certificate")
		}
	}
	s.client = &http.Client{
		Timeout:       serverTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // another server must not answer for this one
	}
	return s, nil
}

// readCA reads --certificate-authority; nil when it is not set.
func readCA(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	ca, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("--certificate-authority: %w", err)
	}
	return ca, nil
}

func (s *server) host() string { return trust.HostOf(s.url) }

// metadata asks the server where the workspace's users log in.
func (s *server) metadata(ctx context.Context) (*protectedresource.Metadata, error) {
	at := protectedresource.URL(s.url).String()
	status, body, err := s.do(ctx, http.MethodGet, at, "", nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound && s.workspace == "":
		return nil, fmt.Errorf("%s has no login for all its workspaces: give the URL of a workspace, as in %s%s<workspace>", s.url, s.host(), clustersPath)
	case status == http.StatusNotFound:
		return nil, fmt.Errorf("the server does not say where users of %s log in: check the URL's spelling, and ask the person who gave it to you whether its owners use login discovery", s.url)
	case status != http.StatusOK:
		return nil, fmt.Errorf("the server answered %d %s when asked where users of %s log in", status, http.StatusText(status), s.url)
	}
	m, err := protectedresource.Parse(body, s.url.String())
	if err != nil {
		return nil, fmt.Errorf("the server's login metadata cannot be used: %w", err)
	}
	if len(m.Clients) == 0 {
		return nil, fmt.Errorf("the server publishes no issuer at which this program can log in as a user of %s", s.url)
	}
	return m, nil
}

// do sends a request. token is empty for none. The error says what the user can do.
func (s *server) do(ctx context.Context, method, at, token string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := s.client.Do(r)
	if err != nil {
		var unknown x509.UnknownAuthorityError
		switch {
		case errors.As(err, &unknown) && len(s.ca) > 0:
			return 0, nil, fmt.Errorf("%s has a certificate that no CA in --certificate-authority has signed: get the right CA from its operator, in a way you trust", s.host())
		case errors.As(err, &unknown):
			return 0, nil, fmt.Errorf("%s has a certificate of a CA that is not known here: get the CA's certificate from its operator, in a way you trust, and pass it as --certificate-authority", s.host())
		}
		return 0, nil, fmt.Errorf("%s could not be reached: %w", s.host(), err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, protectedresource.MaxBytes+1))
	if err != nil {
		return 0, nil, fmt.Errorf("%s interrupted its response: %w", s.host(), err)
	}
	return res.StatusCode, text, nil
}

// identity is the identity that the workspace gives a user.
type identity struct {
	Username string
	Groups   []string
}

// errMayNotAsk is for users who are admitted but may not ask who they are.
var errMayNotAsk = errors.New("you are logged in, but may not ask who you are there: the administrators of the workspace can grant you create on selfsubjectreviews (authentication.k8s.io)")

// errNoWorkspace is for a server's URL without a workspace, where there is no
// endpoint to ask.
var errNoWorkspace = errors.New("you are logged in, but the URL contains no workspace, and only a workspace can say who you are")

// refusedError is a 401.
type refusedError struct{ server, id string }

// Error says what to ask the operator.
func (e refusedError) Error() string {
	text := "the server refuses your login (401) at " + e.server
	if e.id != "" {
		text += fmt.Sprintf("\nits operator can say why: ask for the output of `front-proxy explain %s`; administrators of the workspace may read it, too, at %s/debug/explain/%s", e.id, e.server, e.id)
	}
	return text
}

const (
	// undecidedTries is how often the plugin asks a server that cannot decide yet,
	// for example because it has not read the issuer's keys; undecidedPause is the
	// pause in between.
	undecidedTries = 5
	undecidedPause = 2 * time.Second
)

// askReview sends the review, and repeats it while the server responds with 503.
func (s *server) askReview(ctx context.Context, token string) (code int, body []byte, err error) {
	for try := 1; ; try++ {
		code, body, err = s.do(ctx, http.MethodPost, s.url.String()+"/apis/authentication.k8s.io/v1/selfsubjectreviews", token, []byte(selfSubjectReview))
		if err != nil || code != http.StatusServiceUnavailable || try == undecidedTries {
			return code, body, err
		}
		select {
		case <-time.After(s.pause):
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}

const selfSubjectReview = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`

// review asks for the identity of a token's owner (SelfSubjectReview).
func (s *server) review(ctx context.Context, token string) (*identity, error) {
	if s.workspace == "" {
		return nil, errNoWorkspace
	}
	code, body, err := s.askReview(ctx, token)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message string
		Details struct{ UID string }
		Status  struct{ UserInfo identity }
	}
	err = json.Unmarshal(body, &answer) // of a Status, whose status is a text, the rest is read all the same
	id := &answer.Status.UserInfo
	switch {
	case code == http.StatusUnauthorized:
		return nil, refusedError{s.url.String(), issuer.Printable(answer.Details.UID)}
	case code == http.StatusForbidden:
		return nil, errMayNotAsk
	case code >= 300:
		return nil, fmt.Errorf("the server answers %d: %s", code, issuer.Printable(answer.Message))
	case err != nil || id.Username == "":
		return nil, errors.New("the server's answer about who you are cannot be read")
	}
	id.Username = issuer.Printable(id.Username)
	for n, group := range id.Groups {
		id.Groups[n] = issuer.Printable(group)
	}
	return id, nil
}
