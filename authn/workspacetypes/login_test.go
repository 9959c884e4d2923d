package workspacetypes

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/index"
	"frontproxy/internal/protectedresource"
)

// setLoginConfig is setConfig with annotations.
func (w *typeWorld) setLoginConfig(name, spec string, annotations map[string]string) {
	w.t.Helper()
	o, ok := w.Decode(typestest.ConfigsResource, "c1", name, spec).(*slimConfig)
	if !ok {
		w.t.Fatal("the watch's objects have another type")
	}
	all := map[string]string{"kcp.io/cluster": "c1"}
	maps.Copy(all, annotations)
	again := w.Watches[typestest.ConfigsResource].New()
	text := tokentest.JSON(tokentest.Object{"metadata": tokentest.Object{"name": name, "resourceVersion": o.Version(), "annotations": all}, "spec": json.RawMessage(spec)})
	if err := json.Unmarshal([]byte(text), again); err != nil {
		w.t.Fatal(err)
	}
	w.Tables["root"][typestest.ConfigsResource].Upsert(again)
}

func loginEntry(s *issuertest.Issuer) tokentest.Object {
	return tokentest.Object{
		"issuer":        tokentest.Object{"url": s.URL(), "audiences": []string{"kubectl"}, "certificateAuthority": s.CAPEM()},
		"claimMappings": tokentest.Object{"username": tokentest.Object{"claim": "sub", "prefix": ""}},
	}
}

func (w *typeWorld) login() (clients []protectedresource.Client, problem string) {
	w.t.Helper()
	for _, s := range w.index.Status() {
		problem += s.LoginError
	}
	return w.index.LoginClients(index.Type{Cluster: "c1", Name: "team"}), problem
}

func TestOwnersPublishLoginClients(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	one := loginEntry(s)
	other := loginEntry(s)
	other["issuer"].(tokentest.Object)["url"] = "https://other.example"
	discovery := loginEntry(s)
	discovery["issuer"].(tokentest.Object)["discoveryURL"] = "https://elsewhere.example/d"
	spec := func(entries ...tokentest.Object) string { return tokentest.JSON(tokentest.Object{"jwt": entries}) }
	told := protectedresource.Client{Issuer: s.URL(), ClientID: "kubectl", Scopes: []string{"openid"}, CertificateAuthority: s.CAPEM()}
	full := told
	full.Name, full.Scopes, full.ClientSecret = "Example", []string{"openid", "email"}, "not-secret"

	for name, test := range map[string]struct {
		spec        string
		annotations map[string]string
		want        []protectedresource.Client
		problem     string
	}{
		"nothing is asked for": {spec(one), nil, nil, ""},
		"a client id":          {spec(one), map[string]string{LoginClientIDAnnotation: "kubectl"}, []protectedresource.Client{told}, ""},
		"everything": {spec(other, one), map[string]string{
			LoginClientIDAnnotation: "kubectl", LoginScopesAnnotation: "openid  email", LoginIssuerAnnotation: s.URL(), LoginNameAnnotation: "Example",
			LoginClientSecretAnnotation: "not-secret",
		}, []protectedresource.Client{full}, ""},
		"no client id":                  {spec(one), map[string]string{LoginScopesAnnotation: "openid"}, nil, "login-client-id is missing"},
		"two issuers":                   {spec(one, other), map[string]string{LoginClientIDAnnotation: "kubectl"}, nil, "spec.jwt has 2 entries"},
		"an issuer that is not there":   {spec(one), map[string]string{LoginClientIDAnnotation: "kubectl", LoginIssuerAnnotation: "https://company.example"}, nil, "names an issuer that spec.jwt does not have"},
		"a client id nobody accepts":    {spec(one), map[string]string{LoginClientIDAnnotation: "other"}, nil, "not in spec.jwt[0].issuer.audiences"},
		"a discovery URL":               {spec(discovery), map[string]string{LoginClientIDAnnotation: "kubectl"}, nil, "discoveryURL"},
		"scopes without openid":         {spec(one), map[string]string{LoginClientIDAnnotation: "kubectl", LoginScopesAnnotation: "email"}, nil, "the scope openid is missing"},
		"a name with a terminal's code": {spec(one), map[string]string{LoginClientIDAnnotation: "kubectl", LoginNameAnnotation: "\x1b[2J"}, nil, "invisible characters"},
		"a huge name":                   {spec(one), map[string]string{LoginClientIDAnnotation: "kubectl", LoginNameAnnotation: strings.Repeat("a", 100<<10)}, nil, "16384 characters"},
		"a broken configuration":        {`{"jwt":1}`, map[string]string{LoginClientIDAnnotation: "kubectl"}, nil, "the configuration is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTypeWorld(t, Config{LoginDiscovery: true}).synced()
			w.SetType("root", "c1", "team", "login")
			w.setLoginConfig("login", test.spec, test.annotations)
			clients, problem := w.login()
			if diff := cmp.Diff(test.want, clients); diff != "" {
				t.Errorf("clients (-want +got):\n%s", diff)
			}
			if !strings.Contains(problem, test.problem) || test.problem == "" && problem != "" {
				t.Errorf("the owner is told %q, want %q", problem, test.problem)
			}
			shown := false
			for _, a := range w.index.DescribeType(index.Type{Cluster: "c1", Name: "team"}) {
				shown = shown || strings.Contains(a.Detail, "login discovery")
			}
			if shown != (test.problem != "") {
				t.Errorf("an explanation tells of a problem: %t", shown)
			}
		})
	}
}

// What is told follows the objects: annotations alone, the type, the end.
func TestLoginFollowsTheObjects(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{LoginDiscovery: true}).synced()
	spec := tokentest.JSON(tokentest.Object{"jwt": []tokentest.Object{loginEntry(s)}})
	login := map[string]string{LoginClientIDAnnotation: "kubectl"}
	told := func(what string, want int) {
		t.Helper()
		if clients, problem := w.login(); len(clients) != want || problem != "" {
			t.Errorf("%s: %d clients (%s), want %d", what, len(clients), problem, want)
		}
	}
	w.SetType("root", "c1", "team", "login")
	w.setLoginConfig("login", spec, nil)
	told("without annotations", 0)
	w.setLoginConfig("login", spec, login)
	told("with them", 1)
	w.SetType("root", "c1", "team")
	told("when the type names it no longer", 0)
	w.SetType("root", "c1", "team", "login")
	told("when it does again", 1)
	w.setLoginConfig("login", spec, nil)
	told("when they are gone", 0)
	w.setLoginConfig("login", spec, login)
	w.List("root", typestest.ConfigsResource)
	told("when the configuration is gone", 0)
	w.SetConfig("root", "c1", "login", spec)
	told("when another of its name comes", 0)
}

// With the gate off, annotations mean nothing, not even trouble.
func TestLoginDiscoveryOff(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	w.SetType("root", "c1", "team", "login")
	w.setLoginConfig("login", tokentest.JSON(tokentest.Object{"jwt": []tokentest.Object{loginEntry(s)}}), map[string]string{LoginClientIDAnnotation: "other"})
	if clients, problem := w.login(); len(clients) != 0 || problem != "" {
		t.Errorf("%v, %q", clients, problem)
	}
}

// Annotations that are only tried are judged as if they had been applied.
func TestTryingLoginAnnotations(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{LoginDiscovery: true}).synced()
	w.SetType("root", "c1", "team", "login")
	spec := tokentest.JSON(tokentest.Object{"jwt": []tokentest.Object{loginEntry(s)}})
	w.setLoginConfig("login", spec, map[string]string{LoginClientIDAnnotation: "kubectl"})
	tried := func(change *Change) string {
		t.Helper()
		c, err := w.index.DryRun(index.Type{Cluster: "c1", Name: "team"}, change)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		details := ""
		for _, a := range c.DescribeType(index.Type{}) {
			details += a.Detail + "\n"
		}
		return details
	}
	configs := map[string]json.RawMessage{"login": []byte(spec)}
	bad := tried(&Change{Configurations: configs, Annotations: map[string]map[string]string{"login": {LoginClientIDAnnotation: "other"}}})
	if !strings.Contains(bad, "the client ID is not in spec.jwt[0].issuer.audiences") {
		t.Errorf("a client that nobody accepts: %s", bad)
	}
	for name, change := range map[string]*Change{
		"a good client":  {Configurations: configs, Annotations: map[string]map[string]string{"login": {LoginClientIDAnnotation: "kubectl"}}},
		"no annotations": {Configurations: configs},
		"nothing":        {},
	} {
		if good := tried(change); strings.Contains(good, "login discovery") {
			t.Errorf("%s: %s", name, good)
		}
	}
	if clients, problem := w.login(); len(clients) != 1 || problem != "" {
		t.Errorf("trying has changed what is told: %v %s", clients, problem)
	}
}
