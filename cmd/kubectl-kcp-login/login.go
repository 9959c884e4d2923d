package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// login is `kubectl kcp-login URL`.
func (p *program) login(ctx context.Context, text string) error {
	ca, err := readCA(p.flags.ca)
	if err != nil {
		return err
	}
	s, err := newServer(text, ca)
	if err != nil {
		return err
	}
	if p.flags.exec != execSelf && p.flags.exec != execKubelogin {
		return fmt.Errorf("--exec=%s: must be %s or %s", p.flags.exec, execSelf, execKubelogin)
	}
	m, err := s.metadata(ctx)
	if err != nil {
		return err
	}
	client, err := p.choose(m.Clients)
	if err != nil {
		return err
	}
	a, err := p.agreement(ctx, s, client)
	if err != nil {
		return err
	}
	if p.flags.exec == execKubelogin { // which does the login itself
		return p.writeKubeconfig(s, a)
	}
	tokens, isNew, err := p.tokensOf(ctx, a, false, true)
	if err != nil {
		return err
	}
	id, err := s.review(ctx, tokens.IDToken)
	var refused refusedError
	if errors.As(err, &refused) && !isNew { // perhaps because the stored token is no longer valid there
		if tokens, _, err = p.tokensOf(ctx, a, true, true); err != nil {
			return err
		}
		id, err = s.review(ctx, tokens.IDToken)
	}
	switch {
	case errors.Is(err, errMayNotAsk), errors.Is(err, errNoWorkspace):
		p.say("You are logged in at %s.\n", a.Issuer)
	case err != nil:
		return err
	default:
		p.say("You are %s at %s.\n", id.Username, s.url)
	}
	return p.writeKubeconfig(s, a)
}

// whoami is `kubectl kcp-login whoami`.
func (p *program) whoami(ctx context.Context) error {
	s, a, err := p.current()
	if err != nil {
		return err
	}
	tokens, _, err := p.tokensOf(ctx, a, false, false)
	if err != nil {
		return err
	}
	id, err := s.review(ctx, tokens.IDToken)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "User:    %s\nGroups:  %s\nServer:  %s\nIssuer:  %s\n", id.Username, strings.Join(id.Groups, ", "), s.url, a.Issuer)
	return err
}

// logout is `kubectl kcp-login logout`.
func (p *program) logout(ctx context.Context) error {
	keys, err := p.loggedIn()
	if err != nil {
		return err
	}
	for _, key := range keys {
		entry, err := p.tokens.Lock(ctx, key)
		if err != nil {
			return err
		}
		err = entry.Delete()
		entry.Unlock()
		if err != nil {
			return err
		}
		if p.flags.forget {
			if err := p.trust.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	p.say("The tokens stored here are deleted. Your browser may still be logged in at the issuer.\n")
	return nil
}

// loggedIn returns the keys of the agreements whose tokens logout deletes.
func (p *program) loggedIn() ([]string, error) {
	if !p.flags.all {
		_, a, err := p.current()
		if err != nil {
			return nil, err
		}
		return []string{a.Key()}, nil
	}
	all, err := p.trust.All()
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, a := range all {
		keys = append(keys, a.Key())
	}
	return keys, nil
}
