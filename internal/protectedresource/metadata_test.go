package protectedresource

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func good() Client {
	return Client{Issuer: "https://login.example/realms/one", Name: "Example", ClientID: "kubectl", Scopes: []string{"openid", "email"}}
}

func TestMetadataRoundTrip(t *testing.T) {
	const resource = "https://kcp.example:6443/clusters/root:one"
	other := good()
	other.Issuer, other.Scopes = "https://other.example", []string{"openid", "groups"}
	want := New(resource, "workspace root:one", []Client{good(), other, good()})
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(body, resource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"https://login.example/realms/one", "https://other.example"}, got.AuthorizationServers); diff != "" {
		t.Errorf("authorization_servers: %s", diff)
	}
	if diff := cmp.Diff([]string{"openid", "email", "groups"}, got.ScopesSupported); diff != "" {
		t.Errorf("scopes_supported: %s", diff)
	}
}

// RFC 9728 section 3.1: the well-known part goes before the resource's path.
func TestURL(t *testing.T) {
	for resource, want := range map[string]string{
		"https://kcp.example":                           "https://kcp.example/.well-known/oauth-protected-resource",
		"https://kcp.example/":                          "https://kcp.example/.well-known/oauth-protected-resource",
		"https://kcp.example:6443/clusters/root:acme:1": "https://kcp.example:6443/.well-known/oauth-protected-resource/clusters/root:acme:1",
	} {
		u, err := url.Parse(resource)
		if err != nil {
			t.Fatal(err)
		}
		if got := URL(u).String(); got != want {
			t.Errorf("%s: %s, want %s", resource, got, want)
		}
	}
}

// RFC 9728 section 3.3: metadata about another resource must not be used.
func TestParseRefusesAnotherResource(t *testing.T) {
	body, err := json.Marshal(New("https://kcp.example/clusters/root:one", "", []Client{good()}))
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{"https://kcp.example/clusters/root:two", "https://kcp.example/clusters/root:one/", "https://KCP.example/clusters/root:one", "http://kcp.example/clusters/root:one", "https://kcp.example"} {
		if _, err := Parse(body, asked); err == nil || !strings.Contains(err.Error(), "was asked for") {
			t.Errorf("asked for %s: %v, want a refusal", asked, err)
		}
	}
	if _, err := Parse(body, "https://kcp.example/clusters/root:one"); err != nil {
		t.Error(err)
	}
}

func TestParseIsBounded(t *testing.T) {
	const resource = "https://kcp.example"
	many := make([]Client, MaxClients+1)
	for i := range many {
		many[i] = good()
	}
	body, err := json.Marshal(New(resource, "", many))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(body, resource); err == nil {
		t.Errorf("%d clients were taken", len(many))
	}
	if _, err := Parse(append(body, make([]byte, MaxBytes)...), resource); err == nil {
		t.Errorf("more than %d bytes were taken", MaxBytes)
	}
	if _, err := Parse([]byte("<html>"), resource); err == nil {
		t.Error("HTML was taken")
	}
}

func TestClientValidate(t *testing.T) {
	ok := good()
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Client){
		"http issuer":                 func(c *Client) { c.Issuer = "http://login.example" },
		"issuer without host":         func(c *Client) { c.Issuer = "https:///realms" },
		"issuer with user":            func(c *Client) { c.Issuer = "https://login.example@evil.example" },
		"issuer with query":           func(c *Client) { c.Issuer = "https://login.example?a=b" },
		"issuer with empty query":     func(c *Client) { c.Issuer = "https://login.example?" },
		"issuer with fragment":        func(c *Client) { c.Issuer = "https://login.example#" },
		"issuer with foreign letters": func(c *Client) { c.Issuer = "https://lоgin.example" }, // a Cyrillic o
		"issuer with a line break":    func(c *Client) { c.Issuer = "https://login.example/\n" },
		"long issuer":                 func(c *Client) { c.Issuer += "/" + strings.Repeat("a", MaxURLBytes) },
		"name with escape":            func(c *Client) { c.Name = "a\x1b[2J" },
		"name that turns direction":   func(c *Client) { c.Name = "a\u202eb" },
		"long name":                   func(c *Client) { c.Name = strings.Repeat("ä", MaxNameRunes+1) },
		"no client id":                func(c *Client) { c.ClientID = "" },
		"client id with line break":   func(c *Client) { c.ClientID = "a\nb" },
		"client id with space at end": func(c *Client) { c.ClientID = "a " },
		"long client id":              func(c *Client) { c.ClientID = strings.Repeat("a", MaxIDBytes+1) },
		"secret with control":         func(c *Client) { c.ClientSecret = "a\x00" },
		"no scopes":                   func(c *Client) { c.Scopes = nil },
		"no openid":                   func(c *Client) { c.Scopes = []string{"email"} },
		"scope with space":            func(c *Client) { c.Scopes = []string{"openid", "a b"} },
		"many scopes":                 func(c *Client) { c.Scopes = append(make([]string, MaxScopes), "openid") },
		"CA that is none":             func(c *Client) { c.CertificateAuthority = "none" },
		"large CA":                    func(c *Client) { c.CertificateAuthority = strings.Repeat("a", MaxCABytes+1) },
	} {
		c := good()
		edit(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
