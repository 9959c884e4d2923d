package tokentest

import (
	"encoding/json"
	"fmt"

	"frontproxy/authn/issuer/issuertest"
)

// Object is JSON in the making.
type Object = map[string]any

// SpecFor is a spec with one entry for s, audience "app" and claim sub as name;
// the edits change the entry.
func SpecFor(s *issuertest.Issuer, edits ...func(entry Object)) string {
	entry := Object{
		"issuer":        Object{"url": s.URL(), "certificateAuthority": s.CAPEM(), "audiences": []string{"app"}},
		"claimMappings": Object{"username": Object{"claim": "sub", "prefix": ""}},
	}
	for _, edit := range edits {
		edit(entry)
	}
	return JSON(Object{"jwt": []any{entry}})
}

// With sets what is at a path of keys.
func With(value any, path ...string) func(Object) {
	return func(entry Object) {
		for _, key := range path[:len(path)-1] {
			next, ok := entry[key].(Object)
			if !ok {
				next = Object{}
				entry[key] = next
			}
			entry = next
		}
		entry[path[len(path)-1]] = value
	}
}

// JSON is v's.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// AuthConfig is a structured configuration in YAML that trusts the issuers.
func AuthConfig(version string, issuers ...*issuertest.Issuer) string {
	text := "apiVersion: apiserver.config.k8s.io/" + version + "\nkind: AuthenticationConfiguration\njwt:\n"
	for n, s := range issuers {
		text += fmt.Sprintf("- issuer:\n    url: %s\n    audiences: [app]\n    certificateAuthority: %q\n  claimMappings:\n    username: {claim: sub, prefix: 'i%d:'}\n", s.URL(), s.CAPEM(), n)
	}
	return text
}
