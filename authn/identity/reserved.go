package identity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/internal/clip"
)

const (
	// ScopesKey and ClusterNameKey are kcp's extra keys that tie an identity to
	// a logical cluster (kcp documentation, "Authorization", scopes).
	ScopesKey = "authentication.kcp.io/scopes"
	// ClusterNameKey is a pair with ScopesKey.
	ClusterNameKey = "authentication.kcp.io/cluster-name"
	// WarrantKey is kcp's extra key for warrants: further user infos whose rights a user has, too.
	WarrantKey = "authorization.kcp.io/warrant"

	// MaxQuoted is how many bytes a refusal keeps of each text of a bad identity.
	MaxQuoted = 128
	// MaxRemoved is how many of the removed texts a refusal keeps.
	MaxRemoved = 32

	// KCPDomain is a part of every extra key that kcp acts upon.
	KCPDomain = "kcp.io"

	systemPrefix = "system:"
)

// Check refuses an identity that a shard could read differently. A shard gets it in
// HTTP headers: white space around a value is lost (RFC 9110, section 5.5), control
// characters end or break a line, empty groups vanish, and header names, so extra
// keys too, arrive in lower case. Names that people read must not hide anything from
// them either; see CheckName. Every identity is checked, whichever authenticator
// asserts it.
//
// Before anything else, Check refuses an identity beyond the limits.
func Check(u user.Info) error {
	if err := forwardedLimits.check(u); err != nil {
		return err
	}
	if err := CheckName("user name", u.GetName()); err != nil {
		return err
	}
	if uid := u.GetUID(); uid != "" {
		if err := CheckName("UID", uid); err != nil {
			return err
		}
	}
	for _, g := range u.GetGroups() {
		if err := CheckName("group", g); err != nil {
			return err
		}
	}
	for key, values := range u.GetExtra() {
		if err := CheckName("extra key", key); err != nil {
			return err
		}
		if strings.ToLower(key) != key {
			return fmt.Errorf("extra key %q is not lower case", clip.Clone(key, MaxQuoted))
		}
		for _, v := range values {
			if v == "" {
				continue // an empty header value arrives as an empty value
			}
			if err := checkText("value of extra key "+clip.Clone(key, MaxQuoted), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckName returns why an identity cannot have a name (of a user or group, a UID, or
// an extra's key), or nil: the name is not plain, or readers would not see all of it.
// An administrator might grant a look-alike group the rights of another one. Errors
// begin with what, which says what the name is for.
func CheckName(what, s string) error {
	if err := checkText(what, s); err != nil {
		return err
	}
	if invisible(s) {
		return fmt.Errorf("%s %+q has an invisible character", what, clip.Clone(s, MaxQuoted))
	}
	return nil
}

// checkText reports whether a header carries s unchanged.
func checkText(what, s string) error {
	var problem string
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case !utf8.ValidString(s):
		problem = "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		problem = "has a control character"
	case strings.TrimSpace(s) != s:
		problem = "has leading or trailing white space"
	default:
		return nil
	}
	return fmt.Errorf("%s %q %s", what, clip.Clone(s, MaxQuoted), problem)
}

// Guarded is a workspace authenticator's identity after the guard.
type Guarded struct {
	user user.DefaultInfo
	// Removed says what was taken away; nil when nothing was.
	Removed []string
}

// GuardWorkspaceUser takes from an identity that a tenant's configuration produced what no
// tenant may claim: a system: user name refuses it; system: groups and extra
// keys of the kcp.io domain are removed. The comparison ignores case: kcp
// itself does not, but nothing good is spelt "System:Masters".
func GuardWorkspaceUser(u user.Info) (Guarded, error) {
	if err := Check(u); err != nil {
		return Guarded{}, err
	}
	g := Guarded{user: user.DefaultInfo{Name: u.GetName(), UID: u.GetUID()}}
	if hasSystemPrefix(g.user.Name) {
		return Guarded{}, fmt.Errorf("user name %q begins with %q, which no workspace authenticator may assert", clip.Clone(g.user.Name, MaxQuoted), systemPrefix)
	}
	g.user.Groups = make([]string, 0, len(u.GetGroups())+1)
	for _, group := range unique(u.GetGroups()) {
		if hasSystemPrefix(group) {
			g.remove("group ", group)
			continue
		}
		g.user.Groups = append(g.user.Groups, group)
	}
	g.user.Groups = append(g.user.Groups, user.AllAuthenticated)
	g.user.Extra = make(map[string][]string, len(u.GetExtra())+2)
	for key, values := range u.GetExtra() {
		if strings.Contains(key, KCPDomain) { // keys are lower case: Check
			g.remove("extra ", key)
			continue
		}
		if len(values) > 0 {
			g.user.Extra[key] = values
		}
	}
	return g, nil
}

func (g *Guarded) remove(what, name string) {
	if len(g.Removed) < MaxRemoved {
		g.Removed = append(g.Removed, what+strconv.Quote(clip.Clone(name, MaxQuoted)))
	}
}

// unique returns the list without duplicates. A list that is sorted and has none, as those that
// are remembered (see Normalize), is returned as it is.
func unique(list []string) []string {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			out := slices.Clone(list)
			slices.Sort(out)
			return slices.Compact(out)
		}
	}
	return list
}

// Scoped ties the identity to one logical cluster: a fresh value, so that no
// two requests ever share a scope.
func (g Guarded) Scoped(cluster string) user.Info {
	g.user.Extra[ScopesKey] = []string{"cluster:" + cluster}
	g.user.Extra[ClusterNameKey] = []string{cluster}
	return &g.user
}

func hasSystemPrefix(s string) bool {
	return len(s) >= len(systemPrefix) && strings.EqualFold(s[:len(systemPrefix)], systemPrefix)
}
