package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"frontproxy/internal/login/issuer"
	"frontproxy/internal/login/tokencache"
	"frontproxy/internal/login/trust"
)

const (
	// loginTimeout is how long a user has to log in, and how long another program
	// waits for that.
	loginTimeout = 10 * time.Minute
	// early is how long before its expiry a token is renewed.
	early = 10 * time.Second
)

// tokensOf returns tokens for an agreement: the stored ones, unless they were
// refused; else renewed ones; else those of a new login, if a user is present. Other
// processes wait for it and find the new tokens. isNew reports whether they are not
// the stored ones.
func (p *program) tokensOf(ctx context.Context, a *trust.Agreement, refused, interactive bool) (tokens *tokencache.Tokens, isNew bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	entry, err := p.tokens.Lock(ctx, a.Key())
	if err != nil {
		return nil, false, err
	}
	defer entry.Unlock()
	kept, err := entry.Load()
	switch {
	case err != nil:
		return nil, false, err
	case !refused && kept.IDToken != "" && time.Until(kept.Expiry) > early:
		return kept, false, nil
	case kept.RefreshToken == "" && !interactive:
		return nil, false, loginAgain(a, errors.New("there is no login for it, or it has expired"))
	}
	at, err := issuer.Connect(ctx, a.Tuple, a.ClientSecret)
	if err != nil {
		return nil, false, err
	}
	if kept.RefreshToken != "" {
		tokens, err = at.Refresh(ctx, kept)
	} else {
		err = issuer.ErrLoginNeeded
	}
	if errors.Is(err, issuer.ErrLoginNeeded) {
		tokens, err = p.loginAnew(ctx, a, at, entry, err, interactive)
	}
	if err != nil {
		return nil, false, err
	}
	return tokens, true, entry.Save(tokens)
}

// loginAnew deletes the stored tokens and starts a login, if a user is present.
func (p *program) loginAnew(ctx context.Context, a *trust.Agreement, at *issuer.Issuer, entry *tokencache.Entry, why error, interactive bool) (*tokencache.Tokens, error) {
	if err := entry.Delete(); err != nil {
		return nil, err
	}
	if !interactive {
		return nil, loginAgain(a, why)
	}
	return p.person(ctx, at)
}

func loginAgain(a *trust.Agreement, why error) error {
	return fmt.Errorf("log in again, with the workspace's URL: kubectl kcp-login %s/clusters/<workspace> (%w)", a.Host, why)
}

// person lets the user log in.
func (p *program) person(ctx context.Context, at *issuer.Issuer) (*tokencache.Tokens, error) {
	browser := browserCommand()
	if p.flags.device || browser == nil && !p.flags.noBrowser && at.HasDevice() {
		return at.Device(ctx, func(page, code string) {
			p.say("Open this page on any device and log in:\n\n  %s\n\nThe code is %s\n", page, code)
		})
	}
	return at.Browser(ctx, p.flags.listen, func(page string) {
		p.say("Log in at this page, in a browser on this machine:\n\n  %s\n\n", page)
		if browser == nil || p.flags.noBrowser {
			return
		}
		cmd := exec.Command(browser[0], append(browser[1:], page)...) //nolint:gosec // the user's own browser, which stays open when this program ends
		if err := cmd.Start(); err != nil {
			p.say("No browser could be started (%v); open the page by hand.\n", err)
			return
		}
		go func() { _ = cmd.Wait() }() // its result does not matter
	})
}

// browserCommand returns the command that opens a page; nil: this machine cannot show
// a browser.
func browserCommand() []string {
	if command := os.Getenv("BROWSER"); command != "" {
		return []string{command}
	}
	switch runtime.GOOS {
	case "darwin":
		return []string{"open"}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	if _, err := exec.LookPath("xdg-open"); err != nil {
		return nil
	}
	return []string{"xdg-open"}
}
