package issuer

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/int128/oauth2cli"
	"golang.org/x/oauth2"

	"frontproxy/internal/login/tokencache"
)

// ListenAddresses are the addresses to which the issuer may send the browser back, as
// http://localhost:8000 and so on; the first free one is used. For an issuer that
// requires registered redirect URIs, register the first two.
var ListenAddresses = []string{"127.0.0.1:8000", "127.0.0.1:18000", "127.0.0.1:0"}

var (
	//go:embed done.html
	donePage string
	//go:embed refused.html
	refusedPage string
)

// Browser logs in through a browser on this machine; open receives the page to open.
// listen is where to wait for the browser to come back; empty means ListenAddresses.
func (i *Issuer) Browser(ctx context.Context, listen []string, open func(page string)) (*tokencache.Tokens, error) {
	if len(listen) == 0 {
		listen = ListenAddresses
	}
	ctx, cancel := context.WithCancel(i.context(ctx))
	defer cancel()
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	back := &callback{state: state}
	ready := make(chan string, 1)
	config := oauth2cli.Config{
		OAuth2Config: i.oauth, State: state, LocalServerBindAddress: listen, LocalServerReadyChan: ready,
		AuthCodeOptions:        []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)},
		TokenRequestOptions:    []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)},
		LocalServerSuccessHTML: donePage, LocalServerMiddleware: back.wrap,
	}
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		select {
		case redirect := <-ready:
			oauth := i.oauth // as the library needs it
			oauth.RedirectURL = redirect
			open(oauth.AuthCodeURL(state, config.AuthCodeOptions...))
		case <-ctx.Done():
		}
	}()
	token, err := oauth2cli.GetToken(ctx, config)
	if err != nil {
		cancel()
	}
	<-opened
	switch {
	case back.code != "":
		return nil, refusal{i.tuple.Issuer, "log in", back.code, back.description, err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, fmt.Errorf("nobody logged in at the issuer %s in time: %w", i.tuple.Issuer, err)
	case err != nil:
		return nil, i.failed("log in", err)
	}
	return i.accept(ctx, token, nonce)
}

// callback wraps the library's handler, which ends the login at the first response.
// callback accepts only a response to this login. It serves nothing else, and in
// particular not the page that leads to the issuer: that page contains the state, and
// anybody who can read the state could forge a response.
type callback struct {
	state             string
	code, description string // an error that the issuer sent
}

func (c *callback) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		q := r.URL.Query()
		switch {
		case !local(r.Host):
			http.Error(w, "this page must be requested as localhost", http.StatusForbidden)
		case r.Method != http.MethodGet || r.URL.Path != "/" || q.Get("code") == "" && q.Get("error") == "":
			http.NotFound(w, r)
		case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1:
			http.Error(w, "this is not the answer to the login that is waiting", http.StatusBadRequest)
		case q.Get("error") != "":
			c.code, c.description = q.Get("error"), q.Get("error_description")
			h.Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(refusedPage)) // the terminal shows it, too
			next.ServeHTTP(discard{http.Header{}}, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// discard is a ResponseWriter that discards everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header { return d.header }

func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func (d discard) WriteHeader(int) {}
