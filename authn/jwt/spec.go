package jwt

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/apis/apiserver"

	"frontproxy/authn/issuer"
)

// What one tenant may ask of the proxy.
const (
	// MaxTokenBytes is the longest token that the authenticators of a tenant's
	// configuration judge. The operator's judge any that fits into the headers, as kube does.
	MaxTokenBytes       = 16 << 10
	operatorsTokenBytes = 1 << 20
	// MaxSpecBytes is the largest WorkspaceAuthenticationConfiguration spec.
	MaxSpecBytes = 128 << 10
	// MaxJWTs is how many entries its spec.jwt may have.
	MaxJWTs = 16
	// MaxExpressions is how many CEL expressions they may have together, and
	// MaxExpressionBytes how long each may be.
	MaxExpressions     = 32
	MaxExpressionBytes = 8 << 10
)

// Spec is a configuration's spec.jwt. Immutable.
type Spec struct {
	Entries []apiserver.JWTAuthenticator
	// Sum is a hash of the entries, or of the raw text if the spec is broken.
	Sum [sha256.Size]byte
}

// ParseSpec reads the JSON of a WorkspaceAuthenticationConfiguration's spec
// and holds it to the limits. Validation comes with the build. The spec is never
// nil: one that comes with an error is not to be built, but its entries, as far
// as they can be read, say what its owner still trusts.
func ParseSpec(raw []byte) (*Spec, error) {
	out := &Spec{Sum: sha256.Sum256(raw)}
	if len(raw) > MaxSpecBytes {
		return out, fmt.Errorf("spec has %d bytes, at most %d are allowed", len(raw), MaxSpecBytes)
	}
	var spec tenancyv1alpha1.WorkspaceAuthenticationConfigurationSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return out, fmt.Errorf("decode spec: %w", err)
	}
	used := spec.JWT[:min(len(spec.JWT), MaxJWTs)]
	out.Entries = make([]apiserver.JWTAuthenticator, 0, len(used))
	for i := range used {
		out.Entries = append(out.Entries, convert(&used[i]))
	}
	if i := slices.IndexFunc(out.Entries, hasCredentials); i >= 0 {
		out.Entries = slices.DeleteFunc(out.Entries, hasCredentials)
		return out, fmt.Errorf("a URL in spec.jwt[%d].issuer contains a username or password", i)
	}
	if n := len(spec.JWT); n > MaxJWTs {
		return out, fmt.Errorf("spec.jwt has %d entries, at most %d are allowed", n, MaxJWTs)
	}
	if err := countExpressions(out.Entries); err != nil {
		return out, err
	}
	canonical, err := json.Marshal(spec)
	if err != nil {
		return out, fmt.Errorf("encode spec: %w", err)
	}
	out.Sum = sha256.Sum256(canonical)
	return out, nil
}

// NewSpec is a spec of copies of the entries: building may change what it is
// given. It has no sum.
func NewSpec(entries []apiserver.JWTAuthenticator) *Spec {
	s := &Spec{Entries: make([]apiserver.JWTAuthenticator, 0, len(entries))}
	for i := range entries {
		s.Entries = append(s.Entries, *entries[i].DeepCopy())
	}
	return s
}

func convert(in *tenancyv1alpha1.JWTAuthenticator) apiserver.JWTAuthenticator {
	out := apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{
			URL:                  in.Issuer.URL,
			DiscoveryURL:         in.Issuer.DiscoveryURL,
			CertificateAuthority: in.Issuer.CertificateAuthority,
			Audiences:            in.Issuer.Audiences,
			AudienceMatchPolicy:  apiserver.AudienceMatchPolicyType(in.Issuer.AudienceMatchPolicy),
		},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression(in.ClaimMappings.Username),
			Groups:   apiserver.PrefixedClaimOrExpression(in.ClaimMappings.Groups),
			UID:      apiserver.ClaimOrExpression(in.ClaimMappings.UID),
		},
	}
	for _, e := range in.ClaimMappings.Extra {
		out.ClaimMappings.Extra = append(out.ClaimMappings.Extra, apiserver.ExtraMapping(e))
	}
	for _, r := range in.ClaimValidationRules {
		out.ClaimValidationRules = append(out.ClaimValidationRules, apiserver.ClaimValidationRule(r))
	}
	for _, r := range in.UserValidationRules {
		out.UserValidationRules = append(out.UserValidationRules, apiserver.UserValidationRule(r))
	}
	return out
}

// hasCredentials keeps passwords out of what is logged and explained: validation refuses them,
// too, but quotes them.
func hasCredentials(e apiserver.JWTAuthenticator) bool {
	return slices.ContainsFunc([]string{e.Issuer.URL, e.Issuer.DiscoveryURL}, func(raw string) bool {
		u, err := url.Parse(raw)
		return err == nil && u.User != nil
	})
}

// countExpressions is quick: it runs where objects of all tenants come in.
func countExpressions(entries []apiserver.JWTAuthenticator) error {
	total := 0
	for i := range entries {
		for _, e := range expressions(&entries[i]) {
			if total++; total > MaxExpressions {
				return fmt.Errorf("more than %d CEL expressions in spec.jwt", MaxExpressions)
			}
			if len(e.text) > MaxExpressionBytes {
				return fmt.Errorf("spec.jwt[%d].%s has %d bytes, at most %d are allowed", i, e.field, len(e.text), MaxExpressionBytes)
			}
		}
	}
	return nil
}

// celExpression is a CEL expression of an entry of spec.jwt. field is where it is, below the
// entry.
type celExpression struct{ field, text string }

// expressions are the CEL expressions of an entry.
func expressions(e *apiserver.JWTAuthenticator) []celExpression {
	m := e.ClaimMappings
	all := []celExpression{
		{"claimMappings.username.expression", m.Username.Expression},
		{"claimMappings.groups.expression", m.Groups.Expression},
		{"claimMappings.uid.expression", m.UID.Expression},
	}
	for i, x := range m.Extra {
		all = append(all, celExpression{fmt.Sprintf("claimMappings.extra[%d].valueExpression", i), x.ValueExpression})
	}
	for i, r := range e.ClaimValidationRules {
		all = append(all, celExpression{fmt.Sprintf("claimValidationRules[%d].expression", i), r.Expression})
	}
	for i, r := range e.UserValidationRules {
		all = append(all, celExpression{fmt.Sprintf("userValidationRules[%d].expression", i), r.Expression})
	}
	return slices.DeleteFunc(all, func(x celExpression) bool { return x.text == "" })
}

// RefOf returns the issuer that an entry trusts.
func RefOf(e *apiserver.JWTAuthenticator) issuer.IssuerRef {
	return issuer.IssuerRef{URL: e.Issuer.URL, DiscoveryURL: e.Issuer.DiscoveryURL, CA: e.Issuer.CertificateAuthority}
}

// IssuerIDs returns the ids of the issuers that the entries trust, by URL: a broken spec may
// name a URL twice.
func (s *Spec) IssuerIDs() map[string][]issuer.RefID {
	ids := make(map[string][]issuer.RefID, len(s.Entries))
	for i := range s.Entries {
		ref := RefOf(&s.Entries[i])
		ids[ref.URL] = append(ids[ref.URL], ref.ID())
	}
	return ids
}
