package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"frontproxy/authn/identity"
)

// element is one value of a flag.
type element struct {
	flag  string
	index int // in a list, from 1; 0: the flag has one value
	text  string
}

func (e element) String() string {
	if e.index == 0 {
		return "--" + e.flag
	}
	return fmt.Sprintf("--%s, value %d", e.flag, e.index)
}

// values returns the values that flags have, those of a list numbered.
func (o *options) values(flags ...string) (all []element) {
	for _, flag := range flags {
		value := o.all.Lookup(flag).Value
		if list, ok := value.(pflag.SliceValue); ok {
			for n, text := range list.GetSlice() {
				all = append(all, element{flag, n + 1, text})
			}
		} else if text := value.String(); text != "" {
			all = append(all, element{flag, 0, text})
		}
	}
	return all
}

// headerNames returns the values of flags that name headers.
func (o *options) headerNames() []element {
	return o.values("requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers", "requestheader-extra-headers-prefix")
}

// validateBlanks returns an error for each value with which kube-apiserver does not
// start.
func (o *options) validateBlanks() error {
	var errs []error
	for _, e := range append(o.headerNames(), o.values("requestheader-allowed-names")...) {
		if strings.TrimSpace(e.text) == "" {
			errs = append(errs, fmt.Errorf("%v is empty: remove it", e))
		}
	}
	return errors.Join(errs...)
}

// unusable returns a note about each value that can match nothing, or whose matches
// are refused.
func (o *options) unusable() (notes []string) {
	// name is the value itself, or a name that it matches.
	check := func(e element, name, effect string) {
		what := e.String()
		if name != e.text {
			what += fmt.Sprintf(" %+q: a name like", e.text)
		}
		if err := identity.CheckName(what, name); err != nil {
			notes = append(notes, fmt.Sprintf("%v: %s", err, effect))
		}
	}
	for _, e := range o.headerNames() { // white space around them is removed, as in kube
		if name := strings.TrimSpace(e.text); name != "" && !httpguts.ValidHeaderFieldName(name) {
			notes = append(notes, fmt.Sprintf("%v %+q has a character that header names do not have: it is never read", e, name))
		}
	}
	for _, e := range o.exact() {
		check(e, e.text, "it matches only values with the same characters")
	}
	for _, e := range o.values("authentication-pass-on-groups") {
		check(e, groupLike(e.text), "it matches nothing")
	}
	for _, e := range o.values("authentication-drop-groups") {
		effect := "it matches nothing"
		if text := strings.TrimSpace(e.text); text != "" && text != e.text {
			effect = fmt.Sprintf("no group has that, so %q is dropped", text)
		}
		check(e, groupLike(e.text), effect)
	}
	if o.auth.oidc.config != "" {
		return notes // --authentication-config replaces --oidc-*
	}
	for _, e := range o.values("oidc-username-prefix") {
		check(e, e.text+"x", "all its users are refused (401)")
	}
	for _, e := range o.values("oidc-groups-prefix") {
		check(e, e.text+"x", "its users with groups are refused (401)")
	}
	return notes
}

// groupLike returns a group that a pattern matches.
func groupLike(pattern string) string {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return prefix + "x"
	}
	return pattern
}

// exact returns the values that are compared with the content of certificates and
// tokens.
func (o *options) exact() []element {
	all := o.values("requestheader-allowed-names", "api-audiences", "service-account-issuer",
		"oidc-issuer-url", "oidc-client-id", "oidc-username-claim", "oidc-groups-claim", "cors-allowed-origins")
	for n, c := range o.across.clients() {
		// Each part separately: neither a shard nor a common name has white space
		// around it.
		for _, part := range []string{c.Shard, c.CommonName} {
			if part != "" {
				all = append(all, element{"shard-client-common-names", n + 1, part})
			}
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(o.across.shardServers)) {
		all = append(all, element{"shard-virtual-workspace-server", 0, shard})
	}
	claims := o.auth.oidc.issuer.RequiredClaims
	for _, claim := range slices.Sorted(maps.Keys(claims)) {
		all = append(all, element{"oidc-required-claim", 0, claim})
		if value := claims[claim]; value != "" {
			all = append(all, element{"oidc-required-claim", 0, value})
		}
	}
	return all
}

// dropped returns the patterns without white space around them. No identity has
// a group with such white space, so this drops the intended groups and no others.
func (o *groupOptions) dropped() []string {
	all := make([]string, 0, len(o.drop))
	for _, pattern := range o.drop {
		if pattern = strings.TrimSpace(pattern); pattern != "" {
			all = append(all, pattern)
		}
	}
	return all
}
