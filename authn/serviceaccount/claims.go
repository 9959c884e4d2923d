package serviceaccount

import (
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"frontproxy/authn/token"
	"frontproxy/internal/clip"
)

// LegacyIssuer is the issuer of tokens that live in Secrets.
const LegacyIssuer = "kubernetes/serviceaccount"

// boundClaims are the private claims of a bound token. go-jose's decoder compares JSON keys
// by case, and refuses a key that occurs twice.
type boundClaims struct {
	Kubernetes *struct {
		ClusterName string           `json:"clusterName"`
		Namespace   string           `json:"namespace"`
		Account     reference        `json:"serviceaccount"`
		Pod         *reference       `json:"pod"`
		Secret      *reference       `json:"secret"`
		Node        *reference       `json:"node"`
		WarnAfter   *jwt.NumericDate `json:"warnafter"`
	} `json:"kubernetes.io"`
}

// legacyClaims are the private claims of a legacy token.
type legacyClaims struct {
	ClusterName string `json:"kubernetes.io/serviceaccount/clusterName"`
	Namespace   string `json:"kubernetes.io/serviceaccount/namespace"`
	Secret      string `json:"kubernetes.io/serviceaccount/secret.name"`
	Name        string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID         string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// checkClaims checks the payload of a token whose signature was verified, and returns the
// account that it names. The token must be of one of the issuers, and valid now. The caller
// checks the account's audiences.
func checkClaims(payload []byte, issuers []string, now time.Time) (*account, error) {
	var public jwt.Claims
	if err := json.Unmarshal(payload, &public); err != nil {
		return nil, token.Refuse(token.ReasonMalformed, "the token's registered claims can't be read: %s", clip.Clone(err.Error(), maxQuoted))
	}
	legacy := public.Issuer == LegacyIssuer
	if !legacy && !slices.Contains(issuers, public.Issuer) {
		return nil, token.Refuse(token.ReasonIssuer, "issuer %q is not one of --service-account-issuer", clip.Clone(public.Issuer, maxQuoted))
	}
	if err := checkTimes(public, now); err != nil {
		return nil, err
	}
	a, err := readAccount(payload, legacy, slices.Contains(issuers, LegacyIssuer))
	if err != nil {
		return nil, err
	}
	a.jti, a.audiences = public.ID, public.Audience
	if a.legacy {
		a.jti = ""
	}
	if public.Expiry != nil {
		a.until = public.Expiry.Time().Add(jwt.DefaultLeeway)
	}
	if err := a.checkNames(public.Subject); err != nil {
		return nil, err
	}
	a.info = a.scopedIdentity()
	return a, nil
}

// checkTimes allows a minute of leeway, as kube does.
func checkTimes(c jwt.Claims, now time.Time) error {
	err := c.ValidateWithLeeway(jwt.Expected{Time: now}, jwt.DefaultLeeway)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return token.Refuse(token.ReasonExpired, "the token expired at %s", c.Expiry.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrNotValidYet):
		return token.Refuse(token.ReasonNotYetValid, "the token is not valid before %s", c.NotBefore.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return token.Refuse(token.ReasonNotYetValid, "the token was issued in the future, at %s", c.IssuedAt.Time().UTC().Format(time.RFC3339))
	}
	return token.Refuse(token.ReasonClaims, "the token's registered claims are not valid")
}

// readAccount reads the private claims. A token of the legacy issuer is a bound token if
// that issuer is configured for bound tokens, too, and the token has their claim.
func readAccount(payload []byte, legacy, legacyBound bool) (*account, error) {
	if !legacy || legacyBound {
		var c boundClaims
		if err := json.Unmarshal(payload, &c); err != nil {
			return nil, token.Refuse(token.ReasonMalformed, "the token's claim kubernetes.io can't be read: %s", clip.Clone(err.Error(), maxQuoted))
		}
		if c.Kubernetes != nil {
			k := c.Kubernetes
			return &account{
				home: k.ClusterName, namespace: k.Namespace, name: k.Account.Name, uid: k.Account.UID,
				pod: k.Pod, secret: k.Secret, node: k.Node,
			}, nil
		}
		if !legacy {
			return nil, token.Refuse(token.ReasonClaims, "the token has no claim kubernetes.io")
		}
	}
	var c legacyClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, token.Refuse(token.ReasonMalformed, "the token's kubernetes.io/serviceaccount claims can't be read: %s", clip.Clone(err.Error(), maxQuoted))
	}
	return &account{legacy: true, home: c.ClusterName, namespace: c.Namespace, name: c.Name, uid: c.UID, secret: &reference{Name: c.Secret}}, nil
}
