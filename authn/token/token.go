package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxParsedToken bounds what Parse looks into, as headers do. Longer tokens
// are no JWTs to us; tenants' authenticators stop much earlier, see MaxTokenBytes.
const maxParsedToken = 1 << 20

// maxScratch is the largest buffer that is kept for other tokens, in bytes.
const maxScratch = 64 << 10

// Issuers as Google writes them; the OIDC libraries take one for the other.
const (
	googleIssuer         = "https://accounts.google.com"
	googleIssuerNoScheme = "accounts.google.com"
)

// Token is a bearer token and what can be read of it without trusting it.
type Token struct {
	// Raw is the token itself. Never log it.
	Raw string
	// Issuer is the unverified "iss" claim; empty when Raw is no JWT or has none.
	// It only selects who is asked, it proves nothing.
	Issuer string
	// JWT says that Raw has the shape of a signed JWT.
	JWT bool
	// Client is the address the request came from, as http.Request.RemoteAddr, and
	// Cluster the logical cluster it is for; empty when not known. Slots are shared among
	// them. They prove nothing.
	Client, Cluster string
	// Purpose is what the answer is for.
	Purpose Purpose
}

// Purpose is what an authenticator is asked for.
type Purpose int

const (
	// ForAdmission is for a request that waits for the answer.
	ForAdmission Purpose = iota
	// ForRecheck is for one that was admitted by the token and is still under way.
	ForRecheck
	// ForExplanation is for an explanation. It is counted nowhere.
	ForExplanation
	// ForReview judges a token for a TokenReview. It has an admission's limits, but its
	// refusals are not counted.
	ForReview
)

// Counted reports whether refusals for this purpose count among those of callers.
func (p Purpose) Counted() bool { return p == ForAdmission || p == ForRecheck }

// Parse reads the parts of a bearer token that can be read without trusting it. A
// token has the form of a JWT if it is three parts of unpadded base64url with dots
// between them, of which the first two are JSON objects.
//
// The issuer is what the verifier will read, which is encoding/json's view: keys are
// case-insensitive, and the last of several wins. A token whose "iss" is not a string
// is not a JWT.
func Parse(raw string) Token {
	token := Token{Raw: raw}
	if len(raw) > maxParsedToken {
		return token
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || header == "" || payload == "" || !isBase64URL(header) || !isBase64URL(payload) || !isBase64URL(signature) {
		return token
	}
	d := decoders.Get().(*decoder)
	defer d.release()
	if object, err := d.decode(header); err != nil || !looksLikeObject(object) {
		return token
	}
	claims, err := d.decode(payload)
	if err != nil || !looksLikeObject(claims) {
		return token
	}
	issuer, ok := d.issuer(claims)
	if !ok {
		return token
	}
	if issuer == googleIssuerNoScheme {
		issuer = googleIssuer
	}
	token.JWT, token.Issuer = true, issuer
	return token
}

// decoder reads the parts of one token at a time. What it returns is only good until it is used
// again.
type decoder struct {
	part   []byte
	reader bytes.Buffer
	json   *jsontext.Decoder
}

var decoders = sync.Pool{New: func() any {
	return &decoder{json: jsontext.NewDecoder(new(bytes.Buffer))}
}}

// release makes the decoder available for other tokens. Nothing may keep a part of one.
func (d *decoder) release() {
	if cap(d.part) <= maxScratch {
		decoders.Put(d)
	}
}

func (d *decoder) decode(part string) (decoded []byte, err error) {
	d.part, err = base64.RawURLEncoding.AppendDecode(d.part[:0], []byte(part))
	return d.part, err
}

// issuer skims the claims, a JSON object, and decodes only the issuer; "" when there is none.
// False: encoding/json would not decode them.
func (d *decoder) issuer(claims []byte) (issuer string, ok bool) {
	d.reader = *bytes.NewBuffer(claims)
	d.json.Reset(&d.reader, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) // as encoding/json does
	if _, err := d.json.ReadToken(); err != nil {
		return "", false
	}
	for d.json.PeekKind() == '"' {
		key, err := d.json.ReadValue()
		if err == nil && !isIssuer(key) {
			err = d.json.SkipValue()
		} else if err == nil {
			issuer, err = d.text(issuer)
		}
		if err != nil {
			return "", false
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return "", false
	}
	_, err := d.json.ReadToken()
	return issuer, errors.Is(err, io.EOF)
}

var errNoText = errors.New("not a string")

// text reads a string; null leaves it as it was.
func (d *decoder) text(before string) (string, error) {
	switch value, err := d.json.ReadToken(); {
	case err != nil:
		return "", err
	case value.Kind() == '"':
		return value.String(), nil
	case value.Kind() == 'n':
		return before, nil
	}
	return "", errNoText
}

// isIssuer compares a key, with its quotes, as encoding/json does.
func isIssuer(key jsontext.Value) bool {
	const plain, longest = `"iss"`, `"\u0069\u0073\u0073"`
	if len(key) <= len(plain) {
		return bytes.EqualFold(key, []byte(plain))
	}
	if len(key) > len(longest) || !bytes.ContainsFunc(key, func(r rune) bool { return r == '\\' || r >= utf8.RuneSelf }) {
		return false
	}
	name, err := jsontext.AppendUnquote(nil, key)
	return err == nil && bytes.EqualFold(name, []byte("iss"))
}

// isBase64URL keeps out what base64 decoders skip, such as line ends.
func isBase64URL(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func looksLikeObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}
