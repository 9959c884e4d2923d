package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"frontproxy/internal/login/trust"
	"frontproxy/internal/protectedresource"
)

// choose returns the issuer to log in at: the one in --issuer, the only one, or the
// one that the user picks.
func (p *program) choose(clients []protectedresource.Client) (*protectedresource.Client, error) {
	if p.flags.issuer != "" {
		clients = slices.DeleteFunc(slices.Clone(clients), func(c protectedresource.Client) bool {
			return c.Issuer != p.flags.issuer && c.Name != p.flags.issuer
		})
		if len(clients) == 0 {
			return nil, fmt.Errorf("--issuer=%s: the server publishes no such issuer; without --issuer you can choose one", p.flags.issuer)
		}
	}
	if len(clients) == 1 {
		return &clients[0], nil
	}
	p.say("You can log in at:\n")
	for i, c := range clients {
		p.say("  %d  %s  (client %s)\n", i+1, title(&c), c.ClientID)
	}
	p.say("Which one? Type its number: ")
	answer, err := p.line()
	if err != nil {
		return nil, fmt.Errorf("nothing was chosen; choose one with --issuer: %w", err)
	}
	n, err := strconv.Atoi(answer)
	if err != nil || n < 1 || n > len(clients) {
		return nil, fmt.Errorf("%q is not one of the numbers", answer)
	}
	return &clients[n-1], nil
}

// title returns the display name of an issuer, which always includes its URL.
func title(c *protectedresource.Client) string {
	if c.Name == "" {
		return c.Issuer
	}
	return c.Name + ", " + c.Issuer
}

// agreement returns the user's agreement to a client that the server published: an
// earlier one, or a new one. No request has been sent to the issuer at this point.
func (p *program) agreement(ctx context.Context, s *server, c *protectedresource.Client) (*trust.Agreement, error) {
	tuple := trust.New(s.host(), c.Issuer, c.CertificateAuthority, c.ClientID, c.Scopes)
	known, err := p.trust.All()
	if err != nil {
		return nil, err
	}
	a := trust.Agreement{Tuple: tuple, Name: c.Name, ClientSecret: c.ClientSecret, HostCA: string(bytes.TrimSpace(s.ca)), Since: time.Now().UTC().Truncate(time.Second)}
	i := slices.IndexFunc(known, func(k trust.Agreement) bool { return k.Key() == tuple.Key() })
	if i < 0 {
		if err := p.ask(tuple, known); err != nil {
			return nil, err
		}
	} else {
		a.Since = known[i].Since
	}
	return &a, p.trust.Put(ctx, a)
}

var errNotTrusted = errors.New("you did not say yes, so nothing was done")

// ask shows a new tuple, and the known tuples that resemble it.
func (p *program) ask(t trust.Tuple, known []trust.Agreement) error {
	p.say("\n%s wants you to log in at\n\n", t.Host)
	p.say("  issuer       %s\n", t.Issuer)
	p.say("  issuer's CA  %s\n", describeCA(t.IssuerCA))
	p.say("  client       %s\n", t.ClientID)
	p.say("  scopes       %s\n\n", strings.Join(t.Scopes, " "))
	p.say("%s\nThe token that you get there will be sent to %s, and nowhere else.\n", strings.Join(compare(t, known), "\n"), t.Host)
	p.say("Compare both addresses letter by letter, and continue only if this is where you log in.\nType yes: ")
	answer, err := p.line()
	if err != nil || answer != "yes" {
		return errNotTrusted
	}
	return nil
}

// compare describes how a new tuple differs from those agreed to.
func compare(t trust.Tuple, known []trust.Agreement) []string {
	var lines []string
	for _, k := range known {
		switch {
		case k.Host == t.Host && k.Issuer == t.Issuer && k.IssuerCA != t.IssuerCA:
			lines = append(lines, "CAREFUL: so far this server named the same issuer with another CA.")
		case k.Host == t.Host && k.Issuer == t.Issuer:
			lines = append(lines, fmt.Sprintf("So far you trusted this issuer here with client %s and scopes %s.", k.ClientID, strings.Join(k.Scopes, " ")))
		case k.Host == t.Host:
			lines = append(lines, "So far you trusted another issuer here: "+k.Issuer)
		case k.Issuer == t.Issuer && k.IssuerCA != t.IssuerCA:
			lines = append(lines, "CAREFUL: "+k.Host+" names the same issuer with another CA.")
		case k.Issuer == t.Issuer:
			lines = append(lines, "You trust this issuer for "+k.Host+" already.")
		}
	}
	if len(lines) == 0 {
		return []string{"Neither the server nor the issuer is known here."}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// describeCA describes a CA bundle in one line.
func describeCA(bundle string) string {
	if bundle == "" {
		return "one that this machine trusts"
	}
	var all []string
	for rest := []byte(bundle); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		name := "(broken)"
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			name = fmt.Sprintf("%q", c.Subject.CommonName)
		}
		sum := sha256.Sum256(block.Bytes)
		all = append(all, fmt.Sprintf("private: %s, SHA-256 %s", name, hex.EncodeToString(sum[:])))
	}
	return strings.Join(all, "\n               ")
}

// line reads a line from the user; end of input without one is an error.
func (p *program) line() (string, error) {
	text, err := p.in.ReadString('\n')
	if err != nil && text == "" {
		p.say("\n")
		return "", io.ErrUnexpectedEOF
	}
	return strings.TrimSpace(text), nil
}
