package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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

// elements numbers the values of a list.
func elements(flag string, list []string) []element {
	all := make([]element, 0, len(list))
	for n, text := range list {
		all = append(all, element{flag, n + 1, text})
	}
	return all
}

// one returns the value of a flag that is not a list, if it is set.
func one(flag, text string) []element {
	if text == "" {
		return nil
	}
	return []element{{flag, 0, text}}
}

// requestHeaderLists returns the flags for which kube-apiserver accepts no value that
// is only white space.
func (o *certificateOptions) requestHeaderLists() (headers, names []element) {
	return slices.Concat(
		elements("requestheader-username-headers", o.requestHeader.UsernameHeaders), elements("requestheader-uid-headers", o.requestHeader.UIDHeaders),
		elements("requestheader-group-headers", o.requestHeader.GroupHeaders), elements("requestheader-extra-headers-prefix", o.requestHeader.ExtraPrefixes),
	), elements("requestheader-allowed-names", o.requestHeader.AllowedNames)
}

// blankErrors returns an error for each value with which kube-apiserver does not
// start.
func (o *certificateOptions) blankErrors() (errs []error) {
	headers, names := o.requestHeaderLists()
	for _, e := range slices.Concat(headers, names) {
		if strings.TrimSpace(e.text) == "" {
			errs = append(errs, fmt.Errorf("%v is empty: remove it", e))
		}
	}
	return errs
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
	a := &o.auth
	headers, names := a.certificates.requestHeaderLists()
	for _, e := range headers { // white space around them is removed, as in kube
		if name := strings.TrimSpace(e.text); name != "" && !httpguts.ValidHeaderFieldName(name) {
			notes = append(notes, fmt.Sprintf("%v %+q has a character that header names do not have: it is never read", e, name))
		}
	}
	for _, e := range o.exact(names) {
		check(e, e.text, "it matches only values with the same characters")
	}
	for _, e := range elements("authentication-pass-on-groups", a.groups.passOn) {
		check(e, groupLike(e.text), "it matches nothing")
	}
	for _, e := range elements("authentication-drop-groups", a.groups.drop) {
		effect := "it matches nothing"
		if text := strings.TrimSpace(e.text); text != "" && text != e.text {
			effect = fmt.Sprintf("no group has that, so %q is dropped", text)
		}
		check(e, groupLike(e.text), effect)
	}
	if a.oidc.config != "" {
		return notes // which replaces --oidc-*
	}
	for _, e := range one("oidc-username-prefix", a.oidc.issuer.UsernamePrefix) {
		check(e, e.text+"x", "all its users are refused (401)")
	}
	for _, e := range one("oidc-groups-prefix", a.oidc.issuer.GroupsPrefix) {
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
func (o *options) exact(allowedNames []element) []element {
	a := &o.auth
	all := slices.Concat(
		allowedNames, elements("api-audiences", a.tokens.audiences), elements("service-account-issuer", a.accounts.issuers),
		one("oidc-issuer-url", a.oidc.issuer.IssuerURL), one("oidc-client-id", a.oidc.issuer.ClientID), one("oidc-username-claim", a.oidc.issuer.UsernameClaim), one("oidc-groups-claim", a.oidc.issuer.GroupsClaim),
		elements("cors-allowed-origins", o.serving.corsOrigins),
	)
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
	for _, claim := range slices.Sorted(maps.Keys(a.oidc.issuer.RequiredClaims)) {
		all = append(all, element{"oidc-required-claim", 0, claim})
		if value := a.oidc.issuer.RequiredClaims[claim]; value != "" {
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
