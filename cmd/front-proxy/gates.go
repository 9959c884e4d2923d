package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gate is one feature of ours that an operator may switch.
type gate struct {
	name  string
	alpha bool // else beta
	on    bool // by default
	what  string
}

// Our gates.
const (
	gateWorkspaceAuthentication    = "WorkspaceAuthentication"
	gateWorkspaceTokenAPIAudiences = "WorkspaceTokenAPIAudiences"
	gateGlobalServiceAccounts      = "GlobalServiceAccounts"
)

var ourGates = []gate{
	{gateGlobalServiceAccounts, true, false, "Workspaces are created under the global names of service accounts, so that those of any workspace can own them; see docs/service-accounts.md"},
	{gateWorkspaceAuthentication, true, false, "a workspace type's WorkspaceAuthenticationConfigurations admit users to its workspaces"},
	{gateWorkspaceTokenAPIAudiences, false, true, "tokens of workspace issuers must also carry one of --api-audiences, when that is set"},
}

// gates is the value of --feature-gates.
type gates struct {
	set map[string]bool
	all map[string]bool // AllAlpha, AllBeta
}

// enabled says whether one of our gates is on: as set, else as AllAlpha or
// AllBeta say, else by default.
func (g *gates) enabled(name string) bool {
	if on, ok := g.set[name]; ok {
		return on
	}
	i := slices.IndexFunc(ourGates, func(o gate) bool { return o.name == name })
	class := "AllBeta"
	if ourGates[i].alpha {
		class = "AllAlpha"
	}
	if on, ok := g.all[class]; ok {
		return on
	}
	return ourGates[i].on
}

// Set reads name=bool pairs, comma-separated, and adds them to those set before.
func (g *gates) Set(value string) error {
	if g.set == nil {
		g.set, g.all = map[string]bool{}, map[string]bool{}
	}
	for pair := range strings.SplitSeq(value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, text, _ := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		on, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q is not of the form Name=true or Name=false", pair)
		}
		switch {
		case name == "AllAlpha" || name == "AllBeta":
			g.all[name] = on
		case slices.ContainsFunc(ourGates, func(o gate) bool { return o.name == name }):
			g.set[name] = on
		case !slices.Contains(knownElsewhere, name):
			return fmt.Errorf("unknown feature gate %q; the gates with an effect here are %s", name, strings.Join(gateNames(), ", "))
		}
	}
	return nil
}

// String shows what was set.
func (g *gates) String() string {
	var pairs []string
	for name, on := range g.set {
		pairs = append(pairs, fmt.Sprintf("%s=%t", name, on))
	}
	for name, on := range g.all {
		pairs = append(pairs, fmt.Sprintf("%s=%t", name, on))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// Type is what --help calls the value.
func (g *gates) Type() string { return "Name=bool,…" }

func gateNames() []string {
	var names []string
	for _, o := range ourGates {
		names = append(names, o.name)
	}
	return names
}

func gateHelp() string {
	var b strings.Builder
	b.WriteString("Switch features. Kubernetes' and kcp's other gates are accepted and change nothing. With an effect here:")
	for _, o := range ourGates {
		stage := "BETA"
		if o.alpha {
			stage = "ALPHA"
		}
		fmt.Fprintf(&b, "\n%s=true|false (%s - default=%t): %s", o.name, stage, o.on, o.what)
	}
	return b.String()
}
