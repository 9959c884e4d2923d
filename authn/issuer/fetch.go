package issuer

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
	"time"

	"frontproxy/internal/clip"
	"frontproxy/internal/egress"
	"frontproxy/internal/jwks"
)

// MaxBody is how many bytes of a discovery document or key set are read.
const MaxBody = 1 << 20

const (
	maxRedirects = 3
	maxKeysURL   = 8 << 10 // bytes
	// smallBody is what may be read of a body at any time; the rest, when there is
	// more, by largeBodies fetches at once, and within largeTime each. So
	// all the fetches there may be hold 40 MiB and not ten times that: a usual
	// document has a few KiB.
	smallBody   = 64 << 10
	largeBodies = 16
	largeTime   = 3 * time.Second
)

// fetcher reads one issuer's documents.
type fetcher struct {
	ref      IssuerRef
	document string // the discovery document's URL
	client   *http.Client
	bodies   chan struct{} // the pool's places for large bodies
}

// newFetcher does no I/O. An error means that the IssuerRef is unusable.
func newFetcher(ref IssuerRef, config Config, bodies chan struct{}) (*fetcher, error) {
	document, err := ref.document()
	if err != nil {
		return nil, err
	}
	roots, err := ref.roots()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: egress.LimitAnswers(newTransport(config, roots)), CheckRedirect: checkRedirect(config.AnyRedirect)}
	return &fetcher{ref: ref, document: document, client: client, bodies: bodies}, nil
}

// newTransport makes one with egress' limits. An attempt as a whole has a time that
// is shorter than theirs: Config.Timeout.
func newTransport(config Config, roots *x509.CertPool) *http.Transport {
	t := &http.Transport{
		Proxy:             config.Proxy,
		DialContext:       config.Egress.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // minutes pass between fetches
	}
	egress.LimitTransport(t)
	return t
}

// checkRedirect follows a few redirects on the host that was asked, or to any.
func checkRedirect(anywhere bool) func(*http.Request, []*http.Request) error {
	most := maxRedirects
	if anywhere {
		most = 10 // net/http's
	}
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > most:
			return &fault{"the server redirects too often", fmt.Errorf("more than %d redirects", most)}
		case r.URL.Scheme != "https":
			return &fault{"the server redirects away from https", errors.New("redirect away from https")}
		case !anywhere && r.URL.Host != via[0].URL.Host:
			return &fault{"the server redirects to another host", fmt.Errorf("redirect to another host (%s)", r.URL.Host)}
		}
		return nil
	}
}

// discover returns where the issuer's keys are.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	body, err := f.get(ctx, f.document)
	if err != nil {
		return "", &stepError{discoveryStep, err}
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", &stepError{discoveryStep, &fault{"it is not JSON", fmt.Errorf("%s: %w", f.document, err)}}
	}
	if document.Issuer != f.ref.URL {
		err := fmt.Errorf("%s is the document of issuer %q, want %q", f.document, clip.Clone(document.Issuer, 200), f.ref.URL)
		return "", &stepError{discoveryStep, &fault{"it is the document of another issuer", err}}
	}
	if n := len(document.JWKSURI); n > maxKeysURL {
		return "", &stepError{discoveryStep, &fault{"its jwks_uri is too long", fmt.Errorf("%s: the jwks_uri has %d bytes, at most %d are allowed", f.document, n, maxKeysURL)}}
	}
	if err := checkURL(document.JWKSURI); err != nil {
		return "", &stepError{discoveryStep, &fault{"its jwks_uri is not a usable https URL", fmt.Errorf("jwks_uri: %w", err)}}
	}
	return document.JWKSURI, nil
}

// keys reads the key set at location.
func (f *fetcher) keys(ctx context.Context, location string) (*keySet, error) {
	body, err := f.get(ctx, location)
	if err != nil {
		return nil, &stepError{keysStep, err}
	}
	set, err := parseKeys(body)
	if err != nil {
		return nil, &stepError{keysStep, &fault{"the answer is not a key set (RFC 7517)", fmt.Errorf("%s: %w", location, err)}}
	}
	return set, nil
}

// get reads one document, whole and of at most MaxBody bytes.
func (f *fetcher) get(ctx context.Context, location string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", jwks.Accept)
	r.Header.Set("User-Agent", "front-proxy")
	response, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, &fault{fmt.Sprintf("the server answers with HTTP status %d", response.StatusCode), fmt.Errorf("%s answers %s", location, clip.Clone(response.Status, 100))}
	}
	body, err := f.body(ctx, cancel, response.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", location, err)
	}
	if len(body) > MaxBody {
		return nil, &fault{"the answer is too large", fmt.Errorf("%s is larger than %d bytes", location, MaxBody)}
	}
	return body, nil
}

// body reads all of it, but at most MaxBody+1 bytes. Cancel ends the reading.
func (f *fetcher) body(ctx context.Context, cancel context.CancelFunc, from io.Reader) ([]byte, error) {
	small, err := io.ReadAll(io.LimitReader(from, smallBody))
	if err != nil || len(small) < smallBody {
		return small, err
	}
	select {
	case f.bodies <- struct{}{}:
		defer func() { <-f.bodies }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to read more than %d bytes: %w", smallBody, ctx.Err())
	}
	defer time.AfterFunc(largeTime, cancel).Stop()
	all := bytes.NewBuffer(make([]byte, 0, MaxBody+1+bytes.MinRead)) // never grows
	all.Write(small)
	_, err = all.ReadFrom(io.LimitReader(from, MaxBody+1-smallBody))
	return all.Bytes(), err
}
