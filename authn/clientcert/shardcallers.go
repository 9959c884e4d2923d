package clientcert

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/internal/clip"
)

// ShardCaller is a certificate of the requestheader CA by which a shard says, in
// requestheader headers, whose request it forwards to a virtual workspace (kcp
// does so since August 2026). It asserts below /shards/<Shard>/services/ only.
type ShardCaller struct {
	// CommonName is the certificate's, Shard the one whose virtual workspaces it is
	// for; neither is ever empty.
	CommonName, Shard string
}

// ByShardCaller is the metric label and verdict name of identities that shards
// assert.
const ByShardCaller = "shard-caller"

// bypassGroups are the groups for which kcp skips authorizers, or that only its
// own controllers have: scopes do not confine them. A trailing * is a prefix.
var bypassGroups = identity.NewGroupSet([]string{
	user.SystemPrivilegedGroup,
	"system:kcp:logical-cluster-admin", "system:kcp:external-logical-cluster-admin", "system:kcp:tenancy:workspace-bootstrapper",
	"system:kcp:initializer:*", "system:kcp:terminator:*",
})

// shardCallers reads the callers that shards assert. Immutable.
type shardCallers struct {
	listed []ShardCaller
	// users, uids and groups are the headers to read, prefixes those of extras: in
	// lower case, the operator's and the usual ones, since what is not read would be
	// lost, and an identity without its scopes is a user of every workspace.
	users, uids, groups, prefixes []string
	// dropped are the groups that no global identity may have here.
	dropped identity.GroupSet
}

func newShardCallers(listed []ShardCaller, rh *RequestHeader, dropped identity.GroupSet) (*shardCallers, error) {
	if len(listed) == 0 {
		return nil, nil
	}
	if rh == nil {
		return nil, errors.New("--shard-caller-common-names needs --requestheader-client-ca-file: its CAs verify the shards' certificates")
	}
	for _, c := range listed {
		if c.CommonName == "" || c.Shard == "" {
			return nil, fmt.Errorf("--shard-caller-common-names: %q of shard %q: both must be given", c.CommonName, c.Shard)
		}
		if slices.Contains(rh.AllowedNames, c.CommonName) {
			return nil, fmt.Errorf("common name %q is in --shard-caller-common-names and in --requestheader-allowed-names, which would let shard %s assert any identity on every path; give the shard another name", c.CommonName, c.Shard)
		}
	}
	headers := func(configured []string, usual string) []string {
		names := []string{usual}
		for _, name := range configured {
			if name = strings.ToLower(name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		return names
	}
	return &shardCallers{
		listed: listed, dropped: dropped,
		users: headers(rh.UsernameHeaders, "x-remote-user"), uids: headers(rh.UIDHeaders, "x-remote-uid"),
		groups: headers(rh.GroupHeaders, "x-remote-group"), prefixes: headers(rh.ExtraPrefixes, "x-remote-extra-"),
	}, nil
}

// lists reports whether the name is on the list, of whatever shard.
func (s *shardCallers) lists(name string) bool {
	return s != nil && slices.ContainsFunc(s.listed, func(c ShardCaller) bool { return c.CommonName == name })
}

// asserts reports whether any header, in any spelling, is a part of an identity.
func (s *shardCallers) asserts(header http.Header) bool {
	for key := range header {
		if len(s.readings(strings.ToLower(key), true)) > 0 {
			return true
		}
	}
	return false
}

// reading is what a header is read as.
type reading struct {
	kind readingKind
	key  string // of an extra, as it is spelt
}

type readingKind int

const (
	readUser readingKind = iota
	readUID
	readGroup
	readExtra
)

// readings returns all that a header of this lower-case name may be read as; loosely: also
// by servers that take "_" for "-".
func (s *shardCallers) readings(name string, loosely bool) []reading {
	spelt := func(text string) string {
		if loosely {
			return strings.ReplaceAll(text, "_", "-")
		}
		return text
	}
	name = spelt(name)
	var all []reading
	for kind, names := range [][]string{readUser: s.users, readUID: s.uids, readGroup: s.groups} {
		if slices.ContainsFunc(names, func(n string) bool { return spelt(n) == name }) {
			all = append(all, reading{kind: readingKind(kind)})
		}
	}
	for _, prefix := range s.prefixes {
		if key, ok := strings.CutPrefix(name, spelt(prefix)); ok {
			all = append(all, reading{readExtra, key})
		}
	}
	return all
}

// read returns the caller that the headers name, exactly as they do. It refuses
// what two readers could take for different identities.
func (s *shardCallers) read(header http.Header) (user.Info, error) {
	u := &user.DefaultInfo{}
	var names, uids []string
	for key, values := range header {
		name := strings.ToLower(key)
		all := s.readings(name, false)
		switch {
		case len(all) > 1:
			return nil, fmt.Errorf("header %q has more than one meaning", clip.Clone(key, identity.MaxQuoted))
		case len(all) == 0 && len(s.readings(name, true)) > 0:
			return nil, fmt.Errorf("header %q is in a spelling that some servers read and some do not", clip.Clone(key, identity.MaxQuoted))
		case len(all) == 0:
			continue
		}
		switch all[0].kind {
		case readUser:
			names = append(names, values...)
		case readUID:
			uids = append(uids, values...)
		case readGroup:
			u.Groups = append(u.Groups, values...)
		case readExtra:
			if err := addExtra(u, all[0].key, values); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("there are identity headers, but no user name")
	case len(names) > 1:
		return nil, fmt.Errorf("there are %d user names", len(names))
	case len(uids) > 1:
		return nil, fmt.Errorf("there are %d UIDs", len(uids))
	case len(uids) == 1 && uids[0] == "":
		return nil, errors.New("UID is empty")
	}
	u.Name = names[0]
	if len(uids) == 1 {
		u.UID = uids[0]
	}
	return u, identity.Check(u)
}

// addExtra adds an extra under its key as a shard decodes it.
func addExtra(u *user.DefaultInfo, spelt string, values []string) error {
	key, err := url.PathUnescape(spelt)
	if err != nil {
		return fmt.Errorf("extra key %q is not correctly percent-encoded", clip.Clone(spelt, identity.MaxQuoted))
	}
	if _, twice := u.Extra[key]; twice {
		return fmt.Errorf("extra key %q occurs in more than one spelling", clip.Clone(key, identity.MaxQuoted))
	}
	if u.Extra == nil {
		u.Extra = map[string][]string{}
	}
	u.Extra[key] = values
	return nil
}

// judge refuses a caller who is in a group that no request through a virtual
// workspace may have. The caller goes on unchanged or not at all: one that lost a group
// on the way would get wrong answers about its rights.
func (s *shardCallers) judge(u user.Info) error {
	for _, g := range u.GetGroups() {
		if bypassGroups.Has(strings.ToLower(g)) { // kcp heeds case, but nothing good is spelt "System:Masters"
			return fmt.Errorf("group %q skips authorization, so no shard may assert it", clip.Clone(g, identity.MaxQuoted))
		}
		if s.dropped.Has(g) {
			return fmt.Errorf("group %q is in --authentication-drop-groups", clip.Clone(g, identity.MaxQuoted))
		}
	}
	if serviceAccountWithoutHome(u) {
		return fmt.Errorf("a service account needs one value of extra key %s, without which it would be an account of every workspace", identity.ClusterNameKey)
	}
	for _, text := range u.GetExtra()[identity.WarrantKey] {
		var w identity.Warrant
		// kcp reads warrants with the same decoder, and passes over what does not
		// decode. One within another doubles its escapes, so they end soon.
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			return errors.New("a warrant is not a user in JSON")
		}
		if err := s.judge(&user.DefaultInfo{Name: w.User, Groups: w.Groups, Extra: w.Extra}); err != nil {
			return fmt.Errorf("warrant for %q: %w", clip.Clone(w.User, identity.MaxQuoted), err)
		}
	}
	return nil
}

func serviceAccountWithoutHome(u user.Info) bool {
	return strings.HasPrefix(u.GetName(), serviceaccount.ServiceAccountUsernamePrefix) && len(u.GetExtra()[identity.ClusterNameKey]) != 1
}

// shardCaller authenticates a request with a certificate whose name is listed, and
// with identity headers. False means that the certificate is not from the
// requestheader CA, so the name has no meaning. Otherwise the request is admitted
// with the caller's identity, or refused: the shard's own rights must not go to a
// caller that it forwards.
func (c *Authenticator) shardCaller(r Request) (*Identity, []RefusedCertificate, bool) {
	certs := r.Certificates
	chain, err := c.proxies.verify(certs)
	if err != nil {
		return nil, nil, false
	}
	name := clip.Clone(certs[0].Subject.CommonName, maxQuotedName)
	caller, err := c.assertedByShard(r)
	if err != nil {
		return nil, []RefusedCertificate{{ByShardCaller, fmt.Sprintf("shard certificate %q asserts a caller: %v", name, err)}}, true
	}
	return &Identity{User: caller, Authenticator: ByShardCaller, AssertedBy: name, ExpiresAt: chain.until, Infrastructure: true}, nil, true
}

func (c *Authenticator) assertedByShard(r Request) (user.Info, error) {
	certs := r.Certificates
	if r.ShardRoute == "" || !slices.Contains(c.callers.listed, ShardCaller{CommonName: certs[0].Subject.CommonName, Shard: r.ShardRoute}) {
		return nil, errors.New("it may do so only below /shards/<shard>/services/ of its own shard")
	}
	if err := c.distinct(certs); err != nil {
		return nil, err
	}
	u, err := c.callers.read(r.Header)
	if err != nil {
		return nil, err
	}
	if err := c.callers.judge(u); err != nil {
		return nil, fmt.Errorf("caller %q: %w", clip.Clone(u.GetName(), identity.MaxQuoted), err)
	}
	return u, nil
}
