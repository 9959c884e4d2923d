package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// gate is one of our features that operators may turn on or off.
type gate struct {
	alpha bool // else beta
	on    bool // by default
	what  string
}

// Our gates.
const (
	gateWorkspaceAuthentication    = "WorkspaceAuthentication"
	gateWorkspaceTokenAPIAudiences = "WorkspaceTokenAPIAudiences"
	gateServiceAccountOwners       = "ServiceAccountWorkspaceOwners"
	gateLoginDiscovery             = "LoginDiscovery"
	gateWorkspaceTokenReviews      = "WorkspaceTokenReviews"
)

var ourGates = map[string]gate{
	gateLoginDiscovery:             {true, false, "tells clients that are not logged in where to log in, as owners of workspace types and --login-client publish it; needs --external-url, see docs/login.md"},
	gateServiceAccountOwners:       {true, false, "creates Workspaces under the global names of service accounts, so that accounts of any workspace can own them; see docs/service-accounts.md"},
	gateWorkspaceAuthentication:    {true, false, "admits users to workspaces by the WorkspaceAuthenticationConfigurations of the workspace's type"},
	gateWorkspaceTokenAPIAudiences: {false, true, "requires tokens of workspace issuers to also have one of --api-audiences, if that is set"},
	gateWorkspaceTokenReviews:      {true, false, "answers TokenReviews in workspaces, about users of the workspace's type and service accounts of every shard; see docs/token-reviews.md"},
}

// gates is the value of --feature-gates: the gates that were set, by name. A name is
// one of ourGates, AllAlpha or AllBeta. Any other name has no effect, because it may be a
// gate of kcp or Kubernetes.
type gates struct {
	set map[string]bool
}

// enabled reports whether one of our gates is on: as set, else as AllAlpha or AllBeta
// say, else by default.
func (g *gates) enabled(name string) bool {
	if on, ok := g.set[name]; ok {
		return on
	}
	class := "AllBeta"
	if ourGates[name].alpha {
		class = "AllAlpha"
	}
	if on, ok := g.set[class]; ok {
		return on
	}
	return ourGates[name].on
}

// Set reads name=bool pairs, comma-separated, and adds them to those set before.
func (g *gates) Set(value string) error {
	if g.set == nil {
		g.set = map[string]bool{}
	}
	for pair := range strings.SplitSeq(value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, text, _ := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		on, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil || name == "" {
			return fmt.Errorf("%q is not of the form Name=true or Name=false", pair)
		}
		g.set[name] = on
	}
	return nil
}

// warning names the gates that were set and have no effect here, each with the gate
// of ours that it may be a misspelling of. It is empty if there are none. They are
// not errors, because operators share an argument list with kcp, whose newer versions
// have gates that this program cannot know.
func (g *gates) warning() string {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(g.set)) {
		if name == "AllAlpha" || name == "AllBeta" || slices.Contains(gateNames(), name) {
			continue
		}
		for _, ours := range gateNames() {
			if edits(strings.ToLower(name), strings.ToLower(ours)) <= maxTypos {
				name += fmt.Sprintf(" (did you mean %s?)", ours)
			}
		}
		unknown = append(unknown, name)
	}
	if len(unknown) == 0 {
		return ""
	}
	return "--feature-gates: these have no effect here: " + strings.Join(unknown, ", ")
}

// maxTypos is the largest edit distance at which a name is taken for a misspelling of
// one of our gates.
const maxTypos = 4

// edits returns the Levenshtein distance of a and b: how many bytes to insert, delete
// or replace.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: the distance from the part of a read so far to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// String returns the gates that were set.
func (g *gates) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(g.set)) {
		pairs = append(pairs, fmt.Sprintf("%s=%t", name, g.set[name]))
	}
	return strings.Join(pairs, ",")
}

// Type is the name of the value in --help.
func (g *gates) Type() string { return "Name=bool,…" }

func gateNames() []string { return slices.Sorted(maps.Keys(ourGates)) }

func gateHelp() string {
	var b strings.Builder
	b.WriteString("Turns features on or off. Any other gate, such as kcp's and Kubernetes' own, is accepted with a warning and has no effect. Gates with an effect here:")
	for _, name := range gateNames() {
		stage := "BETA"
		if ourGates[name].alpha {
			stage = "ALPHA"
		}
		fmt.Fprintf(&b, "\n%s=true|false (%s - default=%t): %s", name, stage, ourGates[name].on, ourGates[name].what)
	}
	return b.String()
}
