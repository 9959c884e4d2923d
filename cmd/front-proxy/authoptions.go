package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/oidc"
	"frontproxy/authn/webhook"
)

// authOptions are the flags of the global authenticators.
type authOptions struct {
	certificates certificateOptions
	groups       groupOptions
	tokens       tokenOptions
	webhook      webhook.Config // only the fields that flags set
	oidc         oidcOptions
	accounts     serviceAccountOptions
}

// certificateOptions say whose client certificates are accepted.
type certificateOptions struct {
	clientCA        string
	requestHeaderCA string
	requestHeader   clientcert.RequestHeader // only the fields that flags set
}

// groupOptions filter the groups of identities.
type groupOptions struct {
	passOn, drop []string
	quoted       map[string][]string // by flag, the lists in which a manifest left quotes
}

// tokenOptions are for bearer tokens of all kinds.
type tokenOptions struct {
	file      string
	audiences []string
}

// oidcOptions are for the operator's issuers.
type oidcOptions struct {
	issuer oidc.Flags
	config string
}

// serviceAccountOptions are for the shards' service accounts.
type serviceAccountOptions struct {
	keyFiles []string
	issuers  []string
	lookup   bool
	// lookupKubeconfig: empty means --shards-kubeconfig.
	lookupKubeconfig string
	keysFromShards   bool
	grace            time.Duration
}

// on reports whether service account tokens are verified at all.
func (o *serviceAccountOptions) on() bool { return len(o.keyFiles) > 0 || o.keysFromShards }

func (o *certificateOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.clientCA, "client-ca-file", "", "PEM bundle of the CAs of users' client certificates: the common name is the user, organizations are groups. Re-read when it changes.")
	fs.StringVar(&o.requestHeaderCA, "requestheader-client-ca-file", "", "PEM bundle of the CAs whose client certificates may assert identities in headers. Re-read when it changes.")
	fs.StringSliceVar(&o.requestHeader.AllowedNames, "requestheader-allowed-names", nil, "Common names of certificates that may assert identities. Empty means every certificate that --requestheader-client-ca-file verifies.")
	fs.StringSliceVar(&o.requestHeader.UsernameHeaders, "requestheader-username-headers", nil, "Headers with the user name; usually X-Remote-User.")
	fs.StringSliceVar(&o.requestHeader.UIDHeaders, "requestheader-uid-headers", nil, "Headers with the UID; usually X-Remote-Uid.")
	fs.StringSliceVar(&o.requestHeader.GroupHeaders, "requestheader-group-headers", nil, "Headers with groups; usually X-Remote-Group.")
	fs.StringSliceVar(&o.requestHeader.ExtraPrefixes, "requestheader-extra-headers-prefix", nil, "Prefixes of headers with extras; usually X-Remote-Extra-.")
}

func (o *groupOptions) flags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.passOn, "authentication-pass-on-groups", nil, "Groups that the proxy forwards to shards; a trailing * matches a prefix. Empty means all. --authentication-drop-groups takes precedence.")
	fs.StringSliceVar(&o.drop, "authentication-drop-groups", o.drop, "Groups that the proxy never forwards to shards; a trailing * matches a prefix. Replaces the default.")
}

// splitQuoted splits the groups that contain a comma: that was in quotes that a manifest left in
// the argument.
func (o *groupOptions) splitQuoted() {
	o.quoted = map[string][]string{}
	for flag, list := range map[string]*[]string{"--authentication-pass-on-groups": &o.passOn, "--authentication-drop-groups": &o.drop} {
		if slices.ContainsFunc(*list, func(group string) bool { return strings.Contains(group, ",") }) {
			*list = strings.Split(strings.Join(*list, ","), ",")
			o.quoted[flag] = *list
		}
	}
}

func (a *authOptions) tokenFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.tokens.file, "token-auth-file", "", "CSV file of static tokens: token,user,uid,\"group,group\".")
	fs.StringVar(&a.webhook.ConfigFile, "authentication-token-webhook-config-file", "", "Kubeconfig of a TokenReview webhook, which is asked about tokens that no other authenticator accepts.")
	fs.StringVar(&a.webhook.Version, "authentication-token-webhook-version", "v1beta1", "API version of the TokenReviews to send: v1beta1 or v1.")
	fs.DurationVar(&a.webhook.TTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "How long to cache the webhook's answers, both yes and no.")
	fs.StringSliceVar(&a.tokens.audiences, "api-audiences", nil, "Audiences of the API; a token must have one of them. Empty means the service account issuers, for service account tokens only.")
	fs.Bool("anonymous-auth", false, "No effect: requests without credentials are refused or forwarded for the shard to decide.")
}

func (o *oidcOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.issuer.IssuerURL, "oidc-issuer-url", "", "URL of an OpenID Connect issuer, https only, whose tokens are accepted everywhere.")
	fs.StringVar(&o.issuer.ClientID, "oidc-client-id", "", "Client ID that tokens must have as their audience. Required with --oidc-issuer-url.")
	fs.StringVar(&o.issuer.CAFile, "oidc-ca-file", "", "PEM bundle that verifies the issuer. Empty means the system's.")
	fs.StringVar(&o.issuer.UsernameClaim, "oidc-username-claim", "sub", "Claim with the user name.")
	fs.StringVar(&o.issuer.UsernamePrefix, "oidc-username-prefix", "", "Prefix of user names. The default is the issuer URL and #, unless the claim is email; - means no prefix.")
	fs.StringVar(&o.issuer.GroupsClaim, "oidc-groups-claim", "", "Claim with the groups. Empty means no groups.")
	fs.StringVar(&o.issuer.GroupsPrefix, "oidc-groups-prefix", "", "Prefix of groups.")
	fs.StringToStringVar(&o.issuer.RequiredClaims, "oidc-required-claim", nil, "Claim that a token must have, as key=value. May be repeated.")
	fs.StringSliceVar(&o.issuer.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, "Signature algorithms to accept; only asymmetric ones are possible.")
	fs.StringVar(&o.config, "authentication-config", "", "AuthenticationConfiguration file (apiserver.config.k8s.io) with JWT issuers. Re-read when it changes. Replaces the --oidc-* flags.")
}

func (o *serviceAccountOptions) flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.keyFiles, "service-account-key-file", nil, "PEM file of public keys, certificates or private keys that verify service account tokens. May be repeated.")
	fs.StringArrayVar(&o.issuers, "service-account-issuer", []string{"https://kcp.default.svc"}, "Issuer of service account tokens. May be repeated.")
	fs.BoolVar(&o.lookup, "service-account-lookup", true, "Ask the shard of the account's workspace whether the account still exists.")
	fs.StringVar(&o.lookupKubeconfig, "service-account-lookup-kubeconfig", "", "Kubeconfig for looking up service accounts and their Secrets on shards; its user needs only get on both. The proxy uses each shard's base URL as the server. Empty means --shards-kubeconfig.")
	fs.BoolVar(&o.keysFromShards, "service-account-keys-from-shards", false, "Verify service account tokens with the keys that each shard publishes, for the accounts of the workspaces that it holds. May be combined with --service-account-key-file, whose keys are valid for every account.")
	fs.DurationVar(&o.grace, "service-account-lookup-grace", 0, "How long a service account that was found stays valid while its shard is unreachable. 0 means that its tokens then get 503.")
	fs.String("service-account-jwks-uri", "", "No effect: the proxy publishes no keys.")
	fs.Duration("service-account-max-token-expiration", 0, "No effect: the proxy issues no tokens.")
	fs.Bool("service-account-extend-token-expiration", true, "No effect: the proxy issues no tokens.")
}

func (a *authOptions) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.certificates.requestHeaderCA != "" && len(a.certificates.requestHeader.UsernameHeaders) == 0 {
		fail("--requestheader-client-ca-file is set but --requestheader-username-headers is not: no header would contain the user name; it is usually X-Remote-User")
	}
	if a.certificates.requestHeaderCA == "" && len(a.certificates.requestHeader.UsernameHeaders) > 0 {
		fail("--requestheader-username-headers is set but --requestheader-client-ca-file is not: no client could be trusted to send these headers")
	}
	if (a.oidc.issuer.IssuerURL == "") != (a.oidc.issuer.ClientID == "") {
		fail("--oidc-issuer-url and --oidc-client-id must be set together: only one is set")
	}
	if v := a.webhook.Version; v != "v1" && v != "v1beta1" {
		fail("--authentication-token-webhook-version=%q: must be v1 or v1beta1", v)
	}
	if a.webhook.TTL < 0 {
		fail("--authentication-token-webhook-cache-ttl=%v: cannot be negative", a.webhook.TTL)
	}
	if slices.Contains(a.tokens.audiences, "") {
		fail("--api-audiences: contains an empty audience")
	}
	if a.accounts.on() && (len(a.accounts.issuers) == 0 || slices.Contains(a.accounts.issuers, "")) {
		fail("--service-account-issuer: cannot be empty with --service-account-key-file or --service-account-keys-from-shards")
	}
	if a.accounts.grace < 0 {
		fail("--service-account-lookup-grace=%v: cannot be negative", a.accounts.grace)
	}
	return errors.Join(errs...)
}

// apiAudiences are the audiences of the API, for reviews of tokens.
func (a *authOptions) apiAudiences() []string {
	if len(a.tokens.audiences) > 0 {
		return a.tokens.audiences
	}
	return a.accounts.issuers
}

// files are the files that these flags may name.
func (a *authOptions) files() []namedFile {
	files := []namedFile{
		{"client-ca-file", &a.certificates.clientCA}, {"requestheader-client-ca-file", &a.certificates.requestHeaderCA}, {"oidc-ca-file", &a.oidc.issuer.CAFile},
		{"authentication-config", &a.oidc.config}, {"authentication-token-webhook-config-file", &a.webhook.ConfigFile}, {"token-auth-file", &a.tokens.file},
		{"service-account-lookup-kubeconfig", &a.accounts.lookupKubeconfig},
	}
	for i := range a.accounts.keyFiles {
		files = append(files, namedFile{"service-account-key-file", &a.accounts.keyFiles[i]})
	}
	return files
}
