package identity

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// Limits bound an identity, and with it what every request that has it
// costs: memory where it is remembered, time where it is judged, headers to the
// shard. A shard takes 1 MiB of headers.
type Limits struct {
	// bytes are those of the name, the UID, groups, extra keys and values together.
	bytes int
	// groups, keys and values are how many of these there may be; values are
	// counted over all extra keys.
	groups, keys, values int
}

var (
	// TenantsLimits hold for what tenants' configurations map tokens to. No issuer
	// that is known comes near: Entra ID has 200 groups in a token at most.
	TenantsLimits = Limits{bytes: 64 << 10, groups: 1024, keys: 64, values: 1024}
	// OperatorsLimits hold for what the operator's issuers and webhook say: 300
	// groups of long names are normal there.
	OperatorsLimits = Limits{bytes: 512 << 10, groups: 2048, keys: 128, values: 2048}
	// forwardedLimits hold for every identity. They are wider, for an identity that
	// a proxy or a shard asserts may be one of these, with groups and extras added on
	// the way; with the names of its headers it is still within a shard's limit.
	forwardedLimits = Limits{bytes: 768 << 10, groups: 4096, keys: 256, values: 4096}
)

// check refuses an identity beyond the limits.
func (l Limits) check(u user.Info) error {
	groups, extra := u.GetGroups(), u.GetExtra()
	switch {
	case len(groups) > l.groups:
		return fmt.Errorf("the identity has %d groups, at most %d are allowed", len(groups), l.groups)
	case len(extra) > l.keys:
		return fmt.Errorf("the identity has %d extra keys, at most %d are allowed", len(extra), l.keys)
	}
	values := 0
	for _, v := range extra {
		values += len(v)
	}
	if values > l.values {
		return fmt.Errorf("the identity has %d values of extra keys, at most %d are allowed", values, l.values)
	}
	if n := textBytes(u); n > l.bytes {
		return fmt.Errorf("the identity has %d bytes, at most %d are allowed", n, l.bytes)
	}
	return nil
}

// textBytes is the text of an identity.
func textBytes(u user.Info) int {
	size := len(u.GetName()) + len(u.GetUID())
	for _, g := range u.GetGroups() {
		size += len(g)
	}
	for k, values := range u.GetExtra() {
		size += len(k)
		for _, v := range values {
			size += len(v)
		}
	}
	return size
}

// Memory that a string of a list, and a list of a map, takes in addition to its text.
const stringOverhead, keyOverhead = 16, 96

// KeptBytes is about the memory that an identity takes where it is remembered.
func KeptBytes(u user.Info) int {
	size := textBytes(u) + stringOverhead*len(u.GetGroups())
	for _, values := range u.GetExtra() {
		size += keyOverhead + stringOverhead*len(values)
	}
	return size
}

// Normalize returns an identity that is fit to be remembered for a token: it is within the limits,
// shares no memory with what it was read from, and has each group once, sorted, so that no request
// has to sort them again. The error says which limit u exceeds.
func Normalize(u user.Info, limits Limits) (user.Info, error) {
	if err := limits.check(u); err != nil {
		return nil, err
	}
	out := &user.DefaultInfo{Name: strings.Clone(u.GetName()), UID: strings.Clone(u.GetUID()), Groups: cloned(u.GetGroups())}
	slices.Sort(out.Groups)
	out.Groups = slices.Clip(slices.Compact(out.Groups))
	if extra := u.GetExtra(); extra != nil {
		out.Extra = make(map[string][]string, len(extra))
		for key, values := range extra {
			out.Extra[strings.Clone(key)] = cloned(values)
		}
	}
	return out, nil
}

func cloned(list []string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.Clone(s)
	}
	return out
}
