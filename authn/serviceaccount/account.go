package serviceaccount

import (
	"strings"
	"time"

	kcpcore "github.com/kcp-dev/logicalcluster/v3"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/internal/clip"
)

// account is what a verified token says.
type account struct {
	home            string // logical cluster
	namespace, name string
	uid             string
	legacy          bool
	// secret is the Secret of a legacy token, or the one that a token is bound to; pod
	// and node are those that it is bound to. nil: none.
	secret, pod, node *reference
	jti               string
	// audiences are those that the token is for; none: it does not say.
	audiences []string
	// until is when the token ends, leeway included; zero: never.
	until time.Time
	// provenance says why the token's key is trusted.
	provenance keyProvenance
	// info is the identity to forward; shared, not to be modified.
	info user.Info
}

// reference names an object.
type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// accountBytes is about what an account takes in addition to its texts, stringBytes what a text
// of a list takes in addition to its bytes.
const accountBytes, stringBytes = 256, 16

// bytes returns about how much memory the account takes.
func (a *account) bytes() int {
	size := accountBytes + len(a.home) + len(a.namespace) + len(a.name) + len(a.uid) + len(a.jti)
	for _, audience := range a.audiences {
		size += stringBytes + len(audience)
	}
	for _, r := range []*reference{a.secret, a.pod, a.node} {
		if r != nil {
			size += len(r.Name) + len(r.UID)
		}
	}
	if a.info != nil {
		size += identity.KeptBytes(a.info)
	}
	return size
}

// checkNames checks what the token names: its home, its account, which must be that of sub, the
// token's subject, and its Secret, if it has one.
func (a *account) checkNames(sub string) error {
	if !validCluster(a.home) {
		return token.Refuse(token.ReasonClaims, "the token's home logical cluster %q is missing or malformed", clip.Clone(a.home, maxQuoted))
	}
	namespace, name, err := serviceaccount.SplitUsername(sub)
	if err != nil {
		return token.Refuse(token.ReasonClaims, "sub %q does not name a service account", clip.Clone(sub, maxQuoted))
	}
	if namespace != a.namespace || name != a.name {
		return token.Refuse(token.ReasonClaims, "sub %q is not the account of the claims, %q in namespace %q", clip.Clone(sub, maxQuoted), clip.Clone(a.name, maxQuoted), clip.Clone(a.namespace, maxQuoted))
	}
	if a.uid == "" {
		return token.Refuse(token.ReasonClaims, "the token does not have the service account's uid")
	}
	if a.secret != nil {
		if problems := validation.NameIsDNSSubdomain(a.secret.Name, false); len(problems) > 0 {
			return token.Refuse(token.ReasonClaims, "the name of the token's secret, %q, is missing or malformed", clip.Clone(a.secret.Name, maxQuoted))
		}
	}
	return nil
}

// validCluster refuses names that would mean more than one cluster in a scope, or another
// path in a URL.
func validCluster(name string) bool {
	name = strings.TrimPrefix(name, "system:")
	return !strings.HasPrefix(name, "system:") && kcpcore.Name(name).IsValid()
}

// scopedIdentity returns the identity that a shard would take from the token.
func (a *account) scopedIdentity() user.Info {
	extra := map[string][]string{
		identity.ClusterNameKey: {a.home},
		identity.ScopesKey:      {"cluster:" + a.home},
	}
	if a.jti != "" {
		extra[user.CredentialIDKey] = []string{"JTI=" + a.jti}
	}
	if a.pod != nil && a.pod.Name != "" && a.pod.UID != "" {
		extra[serviceaccount.PodNameKey] = []string{a.pod.Name}
		extra[serviceaccount.PodUIDKey] = []string{a.pod.UID}
	}
	if a.node != nil && a.node.Name != "" {
		extra[serviceaccount.NodeNameKey] = []string{a.node.Name}
		if a.node.UID != "" {
			extra[serviceaccount.NodeUIDKey] = []string{a.node.UID}
		}
	}
	return &user.DefaultInfo{
		Name:   serviceaccount.MakeUsername(a.namespace, a.name),
		UID:    a.uid,
		Groups: serviceaccount.MakeGroupNames(a.namespace),
		Extra:  extra,
	}
}

// where names the account for operators.
func (a *account) where() string {
	return "service account " + a.namespace + "/" + a.name + " in logical cluster " + a.home
}
