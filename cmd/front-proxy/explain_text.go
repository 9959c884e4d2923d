package main

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/zpages"
)

// explainText writes an explanation as text.
func explainText(w io.Writer, e *zpages.Explanation) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("%s %s: %s (%d)", plainText(e.Method), plainText(e.Path), e.Outcome, e.Code)
	if e.ID != "" {
		say("  refusal %s at %s", e.ID, when(e.Time))
	}
	if e.Count > 1 {
		say("  repeated %d times, the last time at %s", e.Count-1, when(e.Last))
	}
	if e.Message != "" {
		say("  %s", plainText(e.Message))
	}
	placeText(say, &e.Place)
	credentialText(say, &e.Credential)
	if u := e.User; u != nil {
		say("Forwarded as: %s, groups %q", plainText(u.Username), u.Groups)
		for k, v := range u.Extra {
			say("  extra %s: %q", plainText(k), []string(v))
		}
	}
	if e.AssertedBy != "" {
		say("  asserted by shard %s, whose certificate is %q", plainText(e.Place.Services), plainText(e.AssertedBy))
	}
	if len(e.Verdicts) > 0 {
		say("What each authenticator said:")
	}
	for _, v := range e.Verdicts {
		say("  %s %s: %s", plainText(v.Authenticator), v.Outcome, plainText(v.Reason))
	}
	for _, g := range e.Guard {
		say("  the guard removed %s", plainText(g))
	}
	if len(e.Versions) > 0 {
		say("Configuration used: %s", strings.Join(e.Versions, ", "))
	}
	statesText(say, e.Authenticators)
	for _, n := range e.Notes {
		say("Note: %s", plainText(n))
	}
	say("Reported by instance %s", e.Instance)
}

func placeText(say func(string, ...any), p *zpages.Place) {
	say("What the path means:")
	field := func(name, value string) {
		if value != "" {
			say("  %-18s %s", name, plainText(value))
		}
	}
	field("mapping", p.Mapping)
	field("cluster", p.Cluster)
	field("logical cluster", p.LogicalCluster)
	field("shard", p.Shard)
	field("virtual workspaces", p.Services)
	if p.Mount {
		field("mount", "leads to a host that a tenant chose")
	}
	switch t := p.Type; {
	case t == nil && p.LogicalCluster != "":
		field("workspace type", "none")
	case t != nil && t.Error != "":
		field("workspace type", strings.TrimPrefix(t.Path+":"+t.Name, ":")+" (not known now: "+t.Error+")")
	case t != nil:
		field("workspace type", t.Path+":"+t.Name+" (of logical cluster "+t.Owner+")")
	case p.Mapping == "" && p.LogicalCluster == "":
		say("  nothing that needs a workspace")
	}
}

func credentialText(say func(string, ...any), c *zpages.Credential) {
	if c.Certificate != "" || c.Serial != "" {
		say("Client certificate: %q, serial %s", c.Certificate, c.Serial)
	}
	if c.Token == "" {
		if c.Certificate == "" && c.Serial == "" {
			say("Credential: none")
		}
		return
	}
	say("Token: %s", c.Token)
	for _, f := range [][2]string{{"issuer", c.Issuer}, {"algorithm", c.Algorithm}, {"key id", c.KeyID}} {
		if f[1] != "" {
			say("  %-10s %s (unverified)", f[0], plainText(f[1]))
		}
	}
	if len(c.Audiences) > 0 {
		say("  %-10s %q (unverified)", "audiences", c.Audiences)
	}
	if c.Expires != nil {
		say("  %-10s %s (unverified)", "expires", when(c.Expires))
	}
}

func statesText(say func(string, ...any), all []zpages.AuthenticatorState) {
	if len(all) == 0 {
		return
	}
	say("Authenticators that apply, as they are now:")
	for _, s := range all {
		line := s.Name + ": " + s.State
		if s.Version != "" {
			line += " @" + s.Version
		}
		if s.Detail != "" {
			line += ", " + s.Detail
		}
		say("  %s", plainText(line))
		if i := s.Issuer; i != nil && i.LastSuccess != nil {
			say("    keys %q, read %s", i.KeyIDs, when(i.LastSuccess))
		}
		if i := s.Issuer; i != nil {
			for _, reason := range i.IgnoredKeys {
				say("    not used: %s", plainText(reason))
			}
		}
		if i := s.Issuer; i != nil && i.LastError != "" {
			say("    last attempt failed: %s", plainText(i.LastError))
		}
	}
}

func when(t *metav1.Time) string {
	if t == nil {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

// plainText removes terminal control codes from text of clients and tenants.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// certificatesOnly returns the certificates in a PEM file, without private keys.
func certificatesOnly(text []byte) string {
	var b strings.Builder
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return b.String()
		}
		if block.Type == "CERTIFICATE" {
			b.Write(pem.EncodeToMemory(block))
		}
	}
}

// readChange reads WorkspaceAuthenticationConfigurations and WorkspaceTypes.
func readChange(text []byte) (*zpages.ExplainChange, error) {
	change := &zpages.ExplainChange{Configurations: map[string]json.RawMessage{}, Annotations: map[string]map[string]string{}, Types: map[string][]string{}}
	for n, document := range strings.Split("\n"+string(text), "\n---") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		var o struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        struct {
				Name        string            `json:"name"`
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
			Spec json.RawMessage `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, fmt.Errorf("document %d: %w", n+1, err)
		}
		if err := addChange(change, o.Kind, o.Metadata.Name, o.Spec); err != nil {
			return nil, fmt.Errorf("document %d: %w", n+1, err)
		}
		for annotation, value := range o.Metadata.Annotations {
			if !strings.HasPrefix(annotation, workspacetypes.LoginAnnotations) { // kubectl stores an old spec in one
				continue
			}
			if change.Annotations[o.Metadata.Name] == nil {
				change.Annotations[o.Metadata.Name] = map[string]string{}
			}
			change.Annotations[o.Metadata.Name][annotation] = value
		}
	}
	if len(change.Configurations)+len(change.Types) == 0 {
		return nil, errors.New("has no object")
	}
	return change, nil
}

func addChange(change *zpages.ExplainChange, kind, name string, spec json.RawMessage) error {
	if name == "" {
		return errors.New("metadata.name is missing")
	}
	switch kind {
	case "WorkspaceAuthenticationConfiguration":
		change.Configurations[name] = spec
	case "WorkspaceType":
		var s struct {
			AuthenticationConfigurations []struct {
				Name string `json:"name"`
			} `json:"authenticationConfigurations"`
		}
		if err := json.Unmarshal(spec, &s); err != nil {
			return fmt.Errorf("spec of WorkspaceType %s: %w", name, err)
		}
		names := []string{}
		for _, c := range s.AuthenticationConfigurations {
			names = append(names, c.Name)
		}
		change.Types[name] = names
	default:
		return fmt.Errorf("kind %q is neither WorkspaceAuthenticationConfiguration nor WorkspaceType", cmp.Or(kind, "(none)"))
	}
	return nil
}
