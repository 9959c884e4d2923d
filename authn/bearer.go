package authn

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"frontproxy/authn/token"
)

var (
	errTwoAuthorizations = errors.New("the request has more than one credential in its headers; send one Authorization header")
	errMalformedBearer   = errors.New("the Authorization header is not a well-formed bearer token (RFC 6750)")
	errMalformedProtocol = errors.New("the bearer subprotocol is not unpadded base64url text, or is the only subprotocol")
)

// bearer returns the bearer token in a request's headers; empty when there is none. Two
// tokens, or one that is malformed, are an error: which of two the shard or a
// log would take is not ours to guess.
func bearer(h http.Header) (string, error) {
	headers := h["Authorization"]
	if len(headers) > 1 {
		return "", errTwoAuthorizations
	}
	var token string
	if len(headers) == 1 {
		var err error
		if token, err = bearerHeader(headers[0]); err != nil {
			return "", err
		}
	}
	if len(h["Sec-Websocket-Protocol"]) == 0 || !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		return token, nil
	}
	fromProtocol, err := bearerProtocol(h["Sec-Websocket-Protocol"])
	if err != nil {
		return "", err
	}
	if token != "" && fromProtocol != "" {
		return "", errTwoAuthorizations
	}
	return token + fromProtocol, nil
}

// bearerHeader reads an Authorization header. A scheme other than Bearer is not a
// credential for this proxy, and no error.
func bearerHeader(value string) (string, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", nil
	}
	token = strings.TrimLeft(token, " ")
	if token == "" || strings.ContainsAny(token, " \t") {
		return "", errMalformedBearer
	}
	return token, nil
}

func bearerProtocol(headers []string) (found string, err error) {
	others := false
	for _, h := range headers {
		for p := range strings.SplitSeq(h, ",") {
			p = strings.TrimSpace(p)
			encoded, ok := strings.CutPrefix(p, token.BearerProtocolPrefix)
			if !ok {
				others = others || p != ""
				continue
			}
			if found != "" {
				return "", errTwoAuthorizations
			}
			raw, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || len(raw) == 0 || !utf8.Valid(raw) {
				return "", errMalformedProtocol
			}
			found = string(raw)
		}
	}
	// The server must be able to choose a subprotocol that is not a secret.
	if found != "" && !others {
		return "", errMalformedProtocol
	}
	return found, nil
}

// PresentsToken reports whether a request with these headers has a bearer token, good or bad.
func PresentsToken(h http.Header) bool {
	token, err := bearer(h)
	return token != "" || err != nil
}
