package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/issuer/issuertest"
)

// issuerLogins are the logins of one user at an issuer, by authorization code with PKCE
// and by device code, with refresh tokens that are good once. The user says yes to
// everything at once, without a form. Its methods are safe for concurrent use.
type issuerLogins struct {
	issuer *issuertest.Issuer
	client string

	mu       sync.Mutex // guards what follows
	claims   issuertest.Claims
	lifetime time.Duration
	ahead    time.Duration
	alg      jose.SignatureAlgorithm
	refusal  string                       // an OAuth error code for logins
	codes    map[string]pendingLogin      // by code or device code
	refresh  map[string]bool              // tokens that are good
	grants   map[string]int               // by grant_type, of good requests
	forms    []url.Values                 // all requests to the token endpoint
	approved map[string]bool              // device codes
	edit     func(form issuertest.Claims) // of an ID token's claims
}

// pendingLogin is one under way.
type pendingLogin struct{ nonce, challenge, redirect string }

// serveLogins has the issuer log in a user with a public client.
func serveLogins(i *issuertest.Issuer, client string, user issuertest.Claims) *issuerLogins {
	l := &issuerLogins{
		issuer: i, client: client, claims: user, lifetime: time.Hour,
		codes: map[string]pendingLogin{}, refresh: map[string]bool{}, grants: map[string]int{}, approved: map[string]bool{},
	}
	i.Handle("/authorize", l.authorize)
	i.Handle("/token", l.token)
	i.Handle("/device", l.device)
	i.Handle("/approve", l.approve)
	i.EditDiscovery(func(d map[string]any) {
		d["device_authorization_endpoint"] = i.URL() + "/device"
		d["id_token_signing_alg_values_supported"] = []string{"RS256", "ES256", "PS256"}
	})
	return l
}

// SetLifetime is how long ID tokens are good that are made from now on.
func (l *issuerLogins) SetLifetime(d time.Duration) { l.with(func() { l.lifetime = d }) }

// SetClock sets the issuer's clock, as far as logins show it, ahead of the real one.
func (l *issuerLogins) SetClock(ahead time.Duration) { l.with(func() { l.ahead = ahead }) }

// SetAlgorithm signs ID tokens otherwise.
func (l *issuerLogins) SetAlgorithm(alg jose.SignatureAlgorithm) { l.with(func() { l.alg = alg }) }

// Edit changes the claims of ID tokens to come; nil changes nothing.
func (l *issuerLogins) Edit(edit func(issuertest.Claims)) { l.with(func() { l.edit = edit }) }

// Refuse answers logins with an OAuth error code; empty: no longer.
func (l *issuerLogins) Refuse(code string) { l.with(func() { l.refusal = code }) }

// Revoke ends all refresh tokens.
func (l *issuerLogins) Revoke() { l.with(func() { clear(l.refresh) }) }

// Grants is how many tokens were given, by grant type.
func (l *issuerLogins) Grants() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.grants)
}

// TokenRequests are the forms that came to the token endpoint.
func (l *issuerLogins) TokenRequests() []url.Values {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.forms)
}

func (l *issuerLogins) with(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *issuerLogins) authorize(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || back.Hostname() != "localhost" || q.Get("client_id") != l.client || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "not a request of the client", http.StatusBadRequest)
		return
	}
	answer := url.Values{"state": {q.Get("state")}}
	if l.refusal != "" {
		answer.Set("error", l.refusal)
		answer.Set("error_description", "as the test wants\x1b[2J")
	} else {
		code := rand.Text()
		l.codes[code] = pendingLogin{q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
		answer.Set("code", code)
	}
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound) //nolint:gosec // to localhost only
}

func (l *issuerLogins) device(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.FormValue("client_id") != l.client {
		w.WriteHeader(http.StatusUnauthorized)
		answerJSON(w, map[string]any{"error": "invalid_client"})
		return
	}
	code := rand.Text()
	l.codes[code] = pendingLogin{}
	answerJSON(w, map[string]any{
		"device_code": code, "user_code": "ABCD", "verification_uri": l.issuer.URL() + "/approve",
		"verification_uri_complete": l.issuer.URL() + "/approve?code=" + code, "expires_in": 60, "interval": 1,
	})
}

// approve is the device flow's page.
func (l *issuerLogins) approve(w http.ResponseWriter, r *http.Request) {
	l.with(func() { l.approved[r.FormValue("code")] = true })
	w.WriteHeader(http.StatusNoContent)
}

func (l *issuerLogins) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what cannot be read is missing
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forms = append(l.forms, r.PostForm)
	w.Header().Set("Date", time.Now().Add(l.ahead).UTC().Format(http.TimeFormat))
	grant := r.PostForm.Get("grant_type")
	nonce, refused := l.redeem(grant, r.PostForm)
	if refused != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		answerJSON(w, map[string]any{"error": refused, "error_description": "as the test wants"})
		return
	}
	l.grants[grant]++
	now := time.Now().Add(l.ahead)
	claims := issuertest.Claims{"aud": l.client, "iat": now.Unix(), "exp": now.Add(l.lifetime).Unix()}
	maps.Copy(claims, l.claims)
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if l.edit != nil {
		l.edit(claims)
	}
	var opts []issuertest.SignOption
	if l.alg != "" {
		opts = append(opts, issuertest.Algorithm(l.alg))
	}
	answer := map[string]any{"access_token": "opaque", "token_type": "Bearer", "expires_in": int(l.lifetime.Seconds()), "id_token": l.issuer.Sign(claims, opts...)}
	next := rand.Text()
	l.refresh[next] = true
	answer["refresh_token"] = next
	answerJSON(w, answer)
}

// redeem takes a code or a refresh token, which is good once. The caller holds mu.
func (l *issuerLogins) redeem(grant string, form url.Values) (nonce, refused string) {
	switch grant {
	case "authorization_code":
		got, ok := l.codes[form.Get("code")]
		delete(l.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || got.redirect != form.Get("redirect_uri") || got.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return "", "invalid_grant"
		}
		return got.nonce, ""
	case "refresh_token":
		good := l.refresh[form.Get("refresh_token")]
		delete(l.refresh, form.Get("refresh_token"))
		if !good {
			return "", "invalid_grant"
		}
		return "", ""
	}
	code := form.Get("device_code")
	switch _, ok := l.codes[code]; {
	case l.refusal != "":
		return "", l.refusal
	case !ok || !strings.HasSuffix(grant, ":device_code"):
		return "", "invalid_grant"
	case !l.approved[code]:
		return "", "authorization_pending"
	}
	delete(l.codes, code)
	return "", ""
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}
