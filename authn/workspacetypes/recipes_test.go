package workspacetypes

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"frontproxy/authn/issuer"
	"frontproxy/authn/jwt"
)

var recipe = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// errNotAsked ends a build where an issuer would be asked.
var errNotAsked = errors.New("nobody is asked")

type noIssuers struct{}

func (noIssuers) Acquire(issuer.IssuerRef, string) (*issuer.Issuer, func(), error) {
	return nil, nil, errNotAsked
}

// The configurations of docs/login.md and docs/issuers are good, as far as that can
// be said without their issuers, and their annotations can be told.
func TestRecipes(t *testing.T) {
	pages, err := filepath.Glob("../../docs/issuers/*.md")
	if err != nil {
		t.Fatal(err)
	}
	builder := jwt.NewBuilder(jwt.Config{Issuers: noIssuers{}, Clock: clock.RealClock{}, Limited: true, Name: entryInWorkspace})
	specs, logins := 0, 0
	for _, page := range append(pages, "../../docs/login.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range recipe.FindAllSubmatch(text, -1) {
			object, err := yaml.YAMLToJSON(m[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			config := new(slimConfig)
			if err := yaml.Unmarshal(object, config); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if config.Spec == nil {
				continue // of another program
			}
			specs++
			spec, err := jwt.ParseSpec(config.Spec)
			if err == nil {
				_, err = builder.Build("root", "recipe", spec)
			}
			if !errors.Is(err, errNotAsked) {
				t.Errorf("%s: %v", page, err)
			}
			c := &configEntry{state: stateUnused, object: configObject{spec: spec, login: config.login()}}
			client, err := c.loginClient()
			if err != nil {
				t.Errorf("%s: %v", page, err)
			}
			if client != nil {
				logins++
			}
		}
	}
	if specs < 9 || logins < 7 {
		t.Errorf("%d configurations and %d logins were read, want all", specs, logins)
	}
}
