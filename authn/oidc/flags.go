package oidc

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"frontproxy/internal/filewatch"
)

// Flags are the --oidc-* flags; each field is the flag of its name.
type Flags struct {
	IssuerURL, ClientID string
	// CAFile is followed, in kcp it is read once; empty means the system's roots.
	CAFile string
	// UsernameClaim is "sub" when empty.
	UsernameClaim string
	// UsernamePrefix empty means "<issuer>#", or none when the claim is email; "-"
	// means none.
	UsernamePrefix string
	// GroupsClaim empty means no groups.
	GroupsClaim, GroupsPrefix string
	RequiredClaims            map[string]string
	// SigningAlgs are RS256 when empty.
	SigningAlgs []string
}

// Set reports whether the flags configure an issuer. Like kube, they need both
// --oidc-issuer-url and --oidc-client-id; one without the other is an error of
// New.
func (f Flags) Set() bool { return f.IssuerURL != "" || f.ClientID != "" }

// entry is the structured configuration that means the same; it reads the CA.
func (f Flags) entry(read filewatch.ReadFunc) (*apiserver.JWTAuthenticator, error) {
	if f.IssuerURL == "" || f.ClientID == "" {
		return nil, errors.New("--oidc-issuer-url and --oidc-client-id must be set together")
	}
	prefix := f.usernamePrefix()
	entry := &apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{URL: f.IssuerURL, Audiences: []string{f.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression{Claim: f.usernameClaim(), Prefix: &prefix},
		},
	}
	if f.GroupsClaim != "" {
		entry.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: f.GroupsClaim, Prefix: &f.GroupsPrefix}
	}
	for _, claim := range slices.Sorted(maps.Keys(f.RequiredClaims)) {
		entry.ClaimValidationRules = append(entry.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: f.RequiredClaims[claim]})
	}
	if f.CAFile != "" {
		ca, err := read(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		entry.Issuer.CertificateAuthority = string(ca)
	}
	return entry, nil
}

func (f Flags) usernameClaim() string { return cmp.Or(f.UsernameClaim, "sub") }

func (f Flags) usernamePrefix() string {
	switch {
	case f.UsernamePrefix == "-":
		return ""
	case f.UsernamePrefix == "" && f.usernameClaim() != "email":
		return f.IssuerURL + "#"
	}
	return f.UsernamePrefix
}

func (f Flags) signingAlgs() ([]string, error) {
	if len(f.SigningAlgs) == 0 {
		return []string{"RS256"}, nil
	}
	known := oidc.AllValidSigningAlgorithms()
	for _, alg := range f.SigningAlgs {
		if !slices.Contains(known, alg) {
			return nil, fmt.Errorf("--oidc-signing-algs: %q is not one of %q", alg, known)
		}
	}
	return f.SigningAlgs, nil
}
