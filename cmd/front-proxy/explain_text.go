package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/cert"

	"frontproxy/authn"
	"frontproxy/authn/authstatus"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/zpages"
)

// printer prints lines, without terminal control codes: clients and tenants choose much of the text.
type printer func(format string, args ...any)

func printTo(w io.Writer) printer {
	return func(format string, args ...any) { _, _ = fmt.Fprintln(w, plainText(fmt.Sprintf(format, args...))) }
}

// each prints a line for each of the texts.
func (say printer) each(format string, texts []string) {
	for _, text := range texts {
		say(format, text)
	}
}

// explainText writes an explanation as text.
func explainText(w io.Writer, e *zpages.Explanation) {
	say := printTo(w)
	say("%s %s: %s (%d)", e.Method, e.Path, e.Outcome, e.Code)
	if e.Answer != "" {
		line := "  " + e.Answer
		if e.Next != "" {
			line += ". Next: " + e.Next
		}
		say("%s", line)
	}
	if e.ID != "" {
		say("  refusal %s at %s", e.ID, when(e.Time))
	}
	if e.Count > 1 {
		say("  repeated %d times, the last time at %s", e.Count-1, when(e.Last))
	}
	if e.Message != "" && e.Message != e.Answer {
		say("  the client is told: %s", e.Message)
	}
	placeText(say, &e.Place)
	if e.Message == "" { // else nobody looked at the credential
		credentialText(say, &e.Credential)
	}
	if u := e.User; u != nil {
		say("Forwarded as: %s, groups %q", u.Username, u.Groups)
		for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
			say("  extra %s: %q", key, []string(u.Extra[key]))
		}
	}
	if e.AssertedBy != "" {
		say("  asserted by shard %s, whose certificate is %q", e.Place.Services, e.AssertedBy)
	}
	if len(e.Verdicts) > 0 {
		say("What each authenticator said:")
	}
	for _, v := range e.Verdicts {
		say("  %s %s: %s", v.Authenticator, v.Outcome, v.Reason)
	}
	say.each("  the guard removed %s", e.Guard)
	if len(e.Versions) > 0 {
		say("Configuration used: %s", strings.Join(e.Versions, ", "))
	}
	statesText(say, e.Authenticators)
	say.each("Note: %s", e.Notes)
	say("Reported by instance %s", e.Instance)
}

func placeText(say printer, p *zpages.Place) {
	if *p == (zpages.Place{}) {
		return
	}
	say("What the path means:")
	field := func(name, value string) {
		if value != "" {
			say("  %-18s %s", name, value)
		}
	}
	field("mapping", p.Mapping)
	switch {
	case p.Cluster == "" || p.Cluster == p.LogicalCluster:
		field("logical cluster", p.LogicalCluster)
	case p.LogicalCluster == "":
		field("workspace", p.Cluster)
	default:
		field("workspace", p.Cluster+" (logical cluster "+p.LogicalCluster+")")
	}
	field("shard", p.Shard)
	field("virtual workspaces", p.Services)
	if p.Mount {
		field("mount", "leads to a host that a tenant chose")
	}
	switch t := p.Type; {
	case t == nil && p.LogicalCluster != "":
		field("workspace type", "none")
	case t != nil && t.Error != "":
		field("workspace type", t.String()+" (not known now: "+t.Error+")")
	case t != nil && t.Owner == t.Path:
		field("workspace type", t.String())
	case t != nil:
		field("workspace type", t.String()+" (of logical cluster "+t.Owner+")")
	}
}

func credentialText(say printer, c *authn.CredentialSummary) {
	if c.Certificate != "" || c.Serial != "" {
		say("Client certificate: %q, serial %s", c.Certificate, c.Serial)
	}
	if c.Kind == "" {
		if c.Certificate == "" && c.Serial == "" {
			say("Credential: none")
		}
		return
	}
	say("Token: %s", c.Kind)
	for _, f := range [][2]string{{"issuer", c.Issuer}, {"algorithm", c.Algorithm}, {"key id", c.KeyID}} {
		if f[1] != "" {
			say("  %-10s %s (unverified)", f[0], f[1])
		}
	}
	if len(c.Audiences) > 0 {
		say("  %-10s %q (unverified)", "audiences", c.Audiences)
	}
	if !c.NotAfter.IsZero() {
		say("  %-10s %s (unverified)", "expires", when(c.NotAfter))
	}
}

func statesText(say printer, all []authstatus.Authenticator) {
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
		say("  %s", line)
		i := s.Issuer
		if i == nil {
			continue
		}
		if !i.LastSuccess.IsZero() {
			say("    keys %q, read %s", i.KeyIDs, when(i.LastSuccess))
		}
		say.each("    not used: %s", i.Ignored)
		if i.LastError != "" {
			say("    last attempt failed: %s", i.LastError)
		}
	}
}

func when(t metav1.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

// plainText removes terminal control codes.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// certificatesOnly returns the certificates in a PEM file, without private keys.
func certificatesOnly(text []byte) (string, error) {
	all, err := cert.ParseCertsPEM(text)
	if err != nil {
		return "", err
	}
	text, err = cert.EncodeCertificates(all...)
	return string(text), err
}

// readChange reads the WorkspaceAuthenticationConfigurations and WorkspaceTypes in a file of YAML
// documents, or of JSON. ignored are the other objects, each with its kind and name.
func readChange(text []byte) (change *workspacetypes.Change, ignored []string, err error) {
	change = &workspacetypes.Change{Configurations: map[string]json.RawMessage{}, Annotations: map[string]map[string]string{}, Types: map[string][]string{}}
	documents := utilyaml.NewYAMLToJSONDecoder(bytes.NewReader(text))
	for n := 1; ; n++ {
		var o changeObject
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("document %d: %w", n, err)
		}
		for _, o := range o.each() {
			used, err := addChange(change, o)
			if err != nil {
				return nil, nil, fmt.Errorf("document %d: %w", n, err)
			}
			if !used {
				ignored = append(ignored, strings.TrimSpace(cmp.Or(o.Kind, "an object without a kind")+" "+o.Name))
			}
		}
	}
	if len(change.Configurations)+len(change.Types) == 0 {
		return nil, nil, fmt.Errorf("has no WorkspaceAuthenticationConfiguration and no WorkspaceType of tenancy.kcp.io, but %s", cmp.Or(strings.Join(ignored, ", "), "nothing"))
	}
	return change, ignored, nil
}

// changeObject is an object of a file, or a list of them.
type changeObject struct {
	metav1.PartialObjectMetadata `json:",inline"`

	Spec  json.RawMessage `json:"spec"`
	Items []changeObject  `json:"items"`
}

// each returns the items of a list, or the object itself; a document of comments has none.
func (o *changeObject) each() []*changeObject {
	var all []*changeObject
	switch {
	case strings.HasSuffix(o.Kind, "List"):
		for i := range o.Items {
			all = append(all, &o.Items[i])
		}
	case o.Kind != "" || o.APIVersion != "" || o.Name != "" || o.Spec != nil:
		all = append(all, o)
	}
	return all
}

// addChange adds an object to the change, unless it is of another kind.
func addChange(change *workspacetypes.Change, o *changeObject) (used bool, err error) {
	name := o.Name
	switch group, _, _ := strings.Cut(o.APIVersion, "/"); {
	case group != "" && group != tenancyGroup, o.Kind != configurationKind && o.Kind != typeKind:
		return false, nil
	case name == "":
		return false, fmt.Errorf("%s: metadata.name is missing", o.Kind)
	case o.Kind == configurationKind:
		change.Configurations[name] = o.Spec
	default:
		var s tenancyv1alpha1.WorkspaceTypeSpec
		if err := json.Unmarshal([]byte(cmp.Or(string(o.Spec), "{}")), &s); err != nil {
			return false, fmt.Errorf("spec of WorkspaceType %s: %w", name, err)
		}
		names := []string{}
		for _, c := range s.AuthenticationConfigurations {
			names = append(names, c.Name)
		}
		change.Types[name] = names
	}
	for annotation, value := range o.Annotations {
		if !strings.HasPrefix(annotation, workspacetypes.LoginAnnotations) { // kubectl stores an old spec in one
			continue
		}
		if change.Annotations[name] == nil {
			change.Annotations[name] = map[string]string{}
		}
		change.Annotations[name][annotation] = value
	}
	return true, nil
}

// The objects that --dry-run uses.
const (
	tenancyGroup      = "tenancy.kcp.io"
	configurationKind = "WorkspaceAuthenticationConfiguration"
	typeKind          = "WorkspaceType"
)
