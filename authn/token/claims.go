package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"frontproxy/internal/clip"
)

// Claims are the claims that are judged before the signature is: none of them is
// verified.
type Claims struct {
	Payload           []byte // the JSON of all claims
	Audiences         []string
	Expiry, NotBefore time.Time
}

// ReadClaims reads a token without verifying it. Names are compared and
// repeated claims treated as go-oidc does, by the same decoder.
func ReadClaims(raw string) (*Claims, error) {
	_, rest, _ := strings.Cut(raw, ".")
	part, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("malformed payload: %w", err)
	}
	var c struct {
		Audience  audienceClaim `json:"aud"`
		Expiry    *json.Number  `json:"exp"`
		NotBefore *json.Number  `json:"nbf"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("malformed claims: %s", clip.Clone(err.Error(), 200))
	}
	claims := &Claims{Payload: payload, Audiences: c.Audience}
	if claims.Expiry, err = numericDate(c.Expiry); err != nil {
		return nil, fmt.Errorf("malformed claim exp: %w", err)
	}
	if claims.NotBefore, err = numericDate(c.NotBefore); err != nil {
		return nil, fmt.Errorf("malformed claim nbf: %w", err)
	}
	return claims, nil
}

// latest is the last second of the year 9999. Times beyond it overflow
// somewhere sooner or later, and are as good as it.
const latest = 253402300799

// numericDate reads seconds since 1970, whole or not; nil is the zero time.
func numericDate(n *json.Number) (time.Time, error) {
	if n == nil {
		return time.Time{}, nil
	}
	seconds, err := n.Float64()
	if err != nil {
		return time.Time{}, errors.New("is no time")
	}
	return time.Unix(int64(max(-latest, min(seconds, latest))), 0), nil
}

// audienceClaim is a string or a list of strings.
type audienceClaim []string

func (a *audienceClaim) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audienceClaim{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("aud is neither a string nor a list of strings")
	}
	*a = many
	return nil
}
