package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
)

// options are the command line: every flag of kcp-front-proxy, with its meaning and
// default, and our own flags.
type options struct {
	serving         *genericoptions.SecureServingOptions
	curves          []string
	maxInFlight     int
	maxConnections  int
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration

	mappingFile      string
	shardsKubeconfig string
	rootKubeconfig   string
	peerKubeconfigs  []string
	rootDirectory    string
	profilerAddress  string
	debugAddress     string
	corsOrigins      []string
	egressDeny       []string
	egressAllow      []string
	egressNAT64      []string
	mountHostsFile   string
	externalURLs     []string
	loginClients     []string

	auth    authOptions
	across  multiShardOptions
	observe observeOptions
	gates   gates
	logging *logsapi.LoggingConfiguration

	version bool
	help    bool

	all    *pflag.FlagSet // for /flagz
	output string         // for check
}

// authOptions are the flags of the global authenticators.
type authOptions struct {
	clientCA string

	requestHeaderCA          string
	requestHeaderNames       []string
	requestHeaderUsers       []string
	requestHeaderUIDs        []string
	requestHeaderGroups      []string
	requestHeaderExtraPrefix []string

	oidcIssuer, oidcClientID, oidcCA     string
	oidcUsernameClaim, oidcGroupsClaim   string
	oidcUsernamePrefix, oidcGroupsPrefix string
	oidcRequiredClaims                   map[string]string
	oidcSigningAlgs                      []string
	config                               string

	webhookConfig, webhookVersion string
	webhookTTL                    time.Duration
	tokenFile                     string

	audiences             []string
	serviceAccountKeys    []string
	serviceAccountIssuers []string
	serviceAccountLookup  bool
	// serviceAccountLookupKubeconfig: empty means shardsKubeconfig.
	serviceAccountLookupKubeconfig string

	accountsAcross multiShardAccountOptions

	serviceAccountJWKSURI   string
	serviceAccountMaxExpiry time.Duration
	serviceAccountExtend    bool

	anonymous            bool
	passOnGroups         groupList
	dropGroups           groupList
	audiencesSet         bool // --api-audiences was given
	oidcFlagsSet         bool // an --oidc-* flag was given
	withoutEffectNotices []string
}

func newOptions() *options {
	o := &options{serving: genericoptions.NewSecureServingOptions(), logging: logsapi.NewLoggingConfiguration()}
	o.serving.BindPort = 443
	o.serving.ServerCert.CertDirectory = ""
	o.serving.ServerCert.PairName = "apiserver" // the file names of a kcp root directory
	o.logging.Verbosity = 2
	o.auth.dropGroups.values = []string{"system:masters", "system:kcp:logical-cluster-admin", "system:kcp:initializer:*", "system:kcp:terminator:*"}
	return o
}

// flags registers every flag, in the sections of --help.
func (o *options) flags(more func(*cliflag.NamedFlagSets)) (*pflag.FlagSet, *cliflag.NamedFlagSets) {
	sections := &cliflag.NamedFlagSets{}
	o.proxyFlags(sections.FlagSet("proxy"))
	o.servingFlags(sections.FlagSet("serving"))
	o.auth.certificateFlags(sections.FlagSet("authentication by certificate"))
	o.auth.tokenFlags(sections.FlagSet("authentication by token"))
	o.auth.oidcFlags(sections.FlagSet("authentication by OIDC"))
	o.auth.serviceAccountFlags(sections.FlagSet("service accounts"))
	o.across.flags(sections.FlagSet("across shards"))
	o.observe.flags(sections.FlagSet("audit"), sections.FlagSet("tracing"))
	logsapi.AddFlags(o.logging, sections.FlagSet("logging"))
	other := sections.FlagSet("other")
	other.Var(&o.gates, "feature-gates", gateHelp())
	other.BoolVar(&o.version, "version", false, "Print the version and exit.")
	other.BoolVarP(&o.help, "help", "h", false, "Print this help and exit.")

	if more != nil {
		more(sections)
	}
	all := pflag.NewFlagSet("front-proxy", pflag.ContinueOnError)
	all.SetOutput(io.Discard)
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, name := range sections.Order {
		all.AddFlagSet(sections.FlagSets[name])
	}
	return all, sections
}

func (o *options) proxyFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.mappingFile, "mapping-file", "", "Required. YAML file that maps paths to backends; /clusters/ leads to the shards.")
	fs.StringVar(&o.shardsKubeconfig, "shards-kubeconfig", "", "Required. Kubeconfig for watching workspaces on every shard. The proxy uses each shard's base URL as the server, so the kubeconfig needs none.")
	fs.StringVar(&o.rootKubeconfig, "root-kubeconfig", "", "Kubeconfig of the root shard, which has the Shard objects. Empty means the default locations of a kubeconfig, then the pod's service account.")
	fs.StringArrayVar(&o.peerKubeconfigs, "shard-peer-kubeconfig", nil, "Kubeconfig whose clusters are shards that serve the full list of shards (from kcp 0.34 on); preferred to the root shard. Once one has responded, every listed shard may be asked as well, with the first kubeconfig's credentials. They need the group system:kcp:admin. May be repeated.")
	fs.StringVar(&o.rootDirectory, "root-directory", ".kcp", "Directory to which relative certificate directories are relative.")
	fs.StringVar(&o.profilerAddress, "profiler-address", "", "[address]:port for Go's profiler, without authentication. Empty means off.")
	fs.StringVar(&o.debugAddress, "debug-address", "", "Loopback address:port, or unix:///path of a socket, for /statusz, /flagz, /metrics and explanations without TLS or authentication, for use when root is down and cannot authorize readers. Empty means off.")
	fs.StringSliceVar(&o.egressDeny, "workspace-egress-deny-cidrs", nil, "Networks that URLs in workspaces (issuers, mounts) must not lead to, comma-separated. Link-local and cloud metadata addresses and the proxy's own addresses are always denied.")
	fs.StringSliceVar(&o.egressAllow, "workspace-egress-allow-cidrs", nil, "Exceptions from --workspace-egress-deny-cidrs, comma-separated. The smallest network that contains an address decides.")
	fs.StringSliceVar(&o.egressNAT64, "workspace-egress-nat64-prefixes", nil, "Prefixes of your network's NAT64 translators besides 64:ff9b::/96 and 64:ff9b:1::/48, comma-separated: /32, /40, /48, /56, /64 or /96. For an address in one of them, the embedded IPv4 address must be allowed, too.")
	fs.StringVar(&o.mountHostsFile, "mount-hosts-file", "", "YAML file of hosts outside kcp that workspaces may mount, each with a CA, and with a client certificate if the host is to get the caller's identity. Re-read when it changes. Empty means that mounted hosts never get the caller's identity.")
	fs.StringArrayVar(&o.externalURLs, "external-url", nil, "URL at which clients reach this proxy. A mount below it gives callers only what they could reach here directly, and login discovery publishes it. May be repeated. For mounts, the base and external URLs of all shards are always included.")
	fs.StringArrayVar(&o.loginClients, "login-client", nil, "How people log in at one of the operator's issuers; published to everybody with the feature gate LoginDiscovery. Comma-separated issuer-url=…, client-id=… and, optionally, name=…, scopes=… (separated by spaces; default openid), ca-file=…, client-secret-file=… (for an issuer that gives a secret even to programs that cannot keep it). May be repeated.")
	fs.StringSliceVar(&o.corsOrigins, "cors-allowed-origins", nil, "Origins from which browsers may send requests, as regular expressions, comma-separated. Empty means none.")
}

func (o *options) servingFlags(fs *pflag.FlagSet) {
	o.serving.AddFlags(fs)
	fs.StringSliceVar(&o.curves, "tls-curve-preferences", nil, "Key exchange mechanisms to offer, as Go's names or IDs, comma-separated. Empty means Go's defaults.")
	fs.IntVar(&o.maxInFlight, "max-requests-inflight", 4000, "Maximum number of concurrent requests at shards and mapped backends; half of it at any one of them, an eighth in one logical cluster. Further requests get 429 and Retry-After. Watches, other streams and upgrades do not count. Nor do requests that wait for an issuer, a mounted host or their own client. All requests share a memory budget of 128 KiB times this number. 0 means no limit on either.")
	fs.IntVar(&o.maxConnections, "max-connections", 0, "Maximum number of open client connections; further ones are closed on arrival. 0 means half of the process's file descriptors, since most requests also need a connection to a shard.")
	fs.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 0, "How long to keep serving after SIGTERM while /readyz fails, so that load balancers notice.")
	fs.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 60*time.Second, "How long requests in flight, watches included, may still run after that delay.")
}

func (a *authOptions) certificateFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.clientCA, "client-ca-file", "", "PEM bundle of the CAs of users' client certificates: the common name is the user, organizations are groups. Re-read when it changes.")
	fs.StringVar(&a.requestHeaderCA, "requestheader-client-ca-file", "", "PEM bundle of the CAs whose client certificates may assert identities in headers. Re-read when it changes.")
	fs.StringSliceVar(&a.requestHeaderNames, "requestheader-allowed-names", nil, "Common names of certificates that may assert identities. Empty means every certificate that --requestheader-client-ca-file verifies.")
	fs.StringSliceVar(&a.requestHeaderUsers, "requestheader-username-headers", nil, "Headers with the user name; usually X-Remote-User.")
	fs.StringSliceVar(&a.requestHeaderUIDs, "requestheader-uid-headers", nil, "Headers with the UID; usually X-Remote-Uid.")
	fs.StringSliceVar(&a.requestHeaderGroups, "requestheader-group-headers", nil, "Headers with groups; usually X-Remote-Group.")
	fs.StringSliceVar(&a.requestHeaderExtraPrefix, "requestheader-extra-headers-prefix", nil, "Prefixes of headers with extras; usually X-Remote-Extra-.")
	fs.Var(&a.passOnGroups, "authentication-pass-on-groups", "Groups that the proxy forwards to shards; a trailing * matches a prefix. Empty means all. --authentication-drop-groups takes precedence.")
	fs.Var(&a.dropGroups, "authentication-drop-groups", "Groups that the proxy never forwards to shards; a trailing * matches a prefix. Replaces the default.")
}

func (a *authOptions) tokenFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.tokenFile, "token-auth-file", "", "CSV file of static tokens: token,user,uid,\"group,group\".")
	fs.StringVar(&a.webhookConfig, "authentication-token-webhook-config-file", "", "Kubeconfig of a TokenReview webhook, which is asked about tokens that no other authenticator accepts.")
	fs.StringVar(&a.webhookVersion, "authentication-token-webhook-version", "v1beta1", "API version of the TokenReviews to send: v1beta1 or v1.")
	fs.DurationVar(&a.webhookTTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "How long to cache the webhook's answers, both yes and no.")
	fs.StringSliceVar(&a.audiences, "api-audiences", nil, "Audiences of the API; a token must have one of them. Empty means the service account issuers, for service account tokens only.")
	fs.BoolVar(&a.anonymous, "anonymous-auth", false, "No effect: requests without credentials are refused or forwarded for the shard to decide.")
}

func (a *authOptions) oidcFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.oidcIssuer, "oidc-issuer-url", "", "URL of an OpenID Connect issuer, https only, whose tokens are accepted everywhere.")
	fs.StringVar(&a.oidcClientID, "oidc-client-id", "", "Client ID that tokens must have as their audience. Required with --oidc-issuer-url.")
	fs.StringVar(&a.oidcCA, "oidc-ca-file", "", "PEM bundle that verifies the issuer. Empty means the system's.")
	fs.StringVar(&a.oidcUsernameClaim, "oidc-username-claim", "sub", "Claim with the user name.")
	fs.StringVar(&a.oidcUsernamePrefix, "oidc-username-prefix", "", "Prefix of user names. The default is the issuer URL and #, unless the claim is email; - means no prefix.")
	fs.StringVar(&a.oidcGroupsClaim, "oidc-groups-claim", "", "Claim with the groups. Empty means no groups.")
	fs.StringVar(&a.oidcGroupsPrefix, "oidc-groups-prefix", "", "Prefix of groups.")
	fs.StringToStringVar(&a.oidcRequiredClaims, "oidc-required-claim", nil, "Claim that a token must have, as key=value. May be repeated.")
	fs.StringSliceVar(&a.oidcSigningAlgs, "oidc-signing-algs", []string{"RS256"}, "Signature algorithms to accept; only asymmetric ones are possible.")
	fs.StringVar(&a.config, "authentication-config", "", "AuthenticationConfiguration file (apiserver.config.k8s.io) with JWT issuers. Re-read when it changes. Replaces the --oidc-* flags.")
}

func (a *authOptions) serviceAccountFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&a.serviceAccountKeys, "service-account-key-file", nil, "PEM file of public keys, certificates or private keys that verify service account tokens. May be repeated.")
	fs.StringArrayVar(&a.serviceAccountIssuers, "service-account-issuer", []string{"https://kcp.default.svc"}, "Issuer of service account tokens. May be repeated.")
	fs.BoolVar(&a.serviceAccountLookup, "service-account-lookup", true, "Ask the shard of the account's workspace whether the account still exists.")
	fs.StringVar(&a.serviceAccountLookupKubeconfig, "service-account-lookup-kubeconfig", "", "Kubeconfig for looking up service accounts and their Secrets on shards; its user needs only get on both. The proxy uses each shard's base URL as the server. Empty means --shards-kubeconfig.")
	a.accountsAcross.flags(fs)
	fs.StringVar(&a.serviceAccountJWKSURI, "service-account-jwks-uri", "", "No effect: the proxy publishes no keys.")
	fs.DurationVar(&a.serviceAccountMaxExpiry, "service-account-max-token-expiration", 0, "No effect: the proxy issues no tokens.")
	fs.BoolVar(&a.serviceAccountExtend, "service-account-extend-token-expiration", true, "No effect: the proxy issues no tokens.")
}

// parse parses the arguments. Errors name the flag.
func parse(args []string) (*options, *cliflag.NamedFlagSets, error) {
	o := newOptions()
	sections, err := o.parse(args, nil)
	if err != nil {
		return nil, nil, err
	}
	return o, sections, nil
}

// parse parses the arguments; more adds the flags of a subcommand.
func (o *options) parse(args []string, more func(*cliflag.NamedFlagSets)) (*cliflag.NamedFlagSets, error) {
	all, sections := o.flags(more)
	o.all = all
	if err := all.Parse(args); err != nil {
		return nil, fmt.Errorf("%w%s; see --help", err, didYouMean(all, err))
	}
	if all.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; flags begin with --, see --help", all.Arg(0))
	}
	a := &o.auth
	a.audiencesSet = all.Changed("api-audiences")
	all.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "oidc-issuer-url", "oidc-client-id", "oidc-ca-file", "oidc-username-claim", "oidc-username-prefix", "oidc-groups-claim", "oidc-groups-prefix",
			"oidc-required-claim", "oidc-signing-algs":
			a.oidcFlagsSet = true
		case "anonymous-auth", "service-account-jwks-uri", "service-account-max-token-expiration", "service-account-extend-token-expiration":
			a.withoutEffectNotices = append(a.withoutEffectNotices, "--"+f.Name)
		}
	})
	return sections, nil
}

// didYouMean returns, in parentheses, the flag that an unknown flag may be a
// misspelling of. It returns "" if there is none, or for another error.
func didYouMean(known *pflag.FlagSet, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	const maxTypos = 2 // flags differ less from each other than gates do
	name, best := "", maxTypos+1
	known.VisitAll(func(f *pflag.Flag) {
		if n := edits(unknown.GetSpecifiedName(), f.Name); n < best {
			name, best = f.Name, n
		}
	})
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean --%s?)", name)
}

// complete makes paths absolute. Certificates have the same default locations as in
// kcp.
func (o *options) complete() error {
	root, err := filepath.Abs(o.rootDirectory)
	if err != nil {
		return fmt.Errorf("--root-directory %q: %w", o.rootDirectory, err)
	}
	o.rootDirectory = root
	dir := o.serving.ServerCert.CertDirectory
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(root, dir)
	}
	o.serving.ServerCert.CertDirectory = dir
	return nil
}

// validate returns everything that is wrong with the flags themselves. Each error
// names its flag.
func (o *options) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.mappingFile == "" {
		fail("--mapping-file is required: the YAML file that maps paths to backends")
	}
	if o.shardsKubeconfig == "" {
		fail("--shards-kubeconfig is required: the kubeconfig for watching workspaces on every shard")
	}
	if v := o.serving.MinTLSVersion; v == "VersionTLS10" || v == "VersionTLS11" {
		fail("--tls-min-version=%s: the proxy does not serve TLS below 1.2 (RFC 8996); use VersionTLS12 or VersionTLS13", v)
	}
	if o.serving.BindPort == 0 {
		fail("--secure-port=0: the proxy serves on no other port; set a port from 1 to 65535")
	}
	if (o.serving.ServerCert.CertKey.CertFile == "") != (o.serving.ServerCert.CertKey.KeyFile == "") {
		fail("--tls-cert-file and --tls-private-key-file must be set together: only one is set")
	}
	if o.shutdownDelay < 0 || o.shutdownTimeout < 0 {
		fail("--shutdown-delay-duration and --shutdown-timeout cannot be negative")
	}
	if o.maxConnections < 0 {
		fail("--max-connections=%d: must be positive, or 0 for half of the available file descriptors", o.maxConnections)
	}
	if o.maxInFlight < 0 || o.maxInFlight == 1 {
		fail("--max-requests-inflight=%d: must be 2 or more, or 0 for no limit", o.maxInFlight)
	}
	if _, err := curveIDs(o.curves); err != nil {
		fail("--tls-curve-preferences: %w", err)
	}
	for flag, list := range map[string][]string{"workspace-egress-deny-cidrs": o.egressDeny, "workspace-egress-allow-cidrs": o.egressAllow} {
		if _, err := prefixes(flag, list); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := nat64Prefixes(o.egressNAT64); err != nil {
		errs = append(errs, err)
	}
	if _, err := externalURLs(o.externalURLs); err != nil {
		errs = append(errs, err)
	}
	if err := o.validateLogin(); err != nil {
		errs = append(errs, err)
	}
	if o.debugAddress != "" {
		if err := checkDebugAddress(o.debugAddress); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, o.serving.Validate()...)
	errs = append(errs, o.auth.validate()...)
	errs = append(errs, o.across.validate()...)
	errs = append(errs, o.observe.validate()...)
	for _, f := range o.files() {
		if f.path == "" {
			continue
		}
		file, err := os.Open(f.path)
		if err != nil {
			fail("--%s: %w", f.flag, err)
			continue
		}
		_ = file.Close()
	}
	return errors.Join(errs...)
}

func (a *authOptions) validate() []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.requestHeaderCA != "" && len(a.requestHeaderUsers) == 0 {
		fail("--requestheader-client-ca-file is set but --requestheader-username-headers is not: no header would contain the user name; it is usually X-Remote-User")
	}
	if a.requestHeaderCA == "" && len(a.requestHeaderUsers) > 0 {
		fail("--requestheader-username-headers is set but --requestheader-client-ca-file is not: no client could be trusted to send these headers")
	}
	if (a.oidcIssuer == "") != (a.oidcClientID == "") {
		fail("--oidc-issuer-url and --oidc-client-id must be set together: only one is set")
	}
	if v := a.webhookVersion; v != "v1" && v != "v1beta1" {
		fail("--authentication-token-webhook-version=%q: must be v1 or v1beta1", v)
	}
	if a.webhookTTL < 0 {
		fail("--authentication-token-webhook-cache-ttl=%v: cannot be negative", a.webhookTTL)
	}
	if slices.Contains(a.audiences, "") {
		fail("--api-audiences: contains an empty audience")
	}
	if a.serviceAccountsOn() && (len(a.serviceAccountIssuers) == 0 || slices.Contains(a.serviceAccountIssuers, "")) {
		fail("--service-account-issuer: cannot be empty with --service-account-key-file or --service-account-keys-from-shards")
	}
	errs = append(errs, a.blankErrors()...)
	return append(errs, a.accountsAcross.validate()...)
}

type namedFile struct{ flag, path string }

// files returns the files that flags name and that must be readable.
func (o *options) files() []namedFile {
	a := &o.auth
	files := []namedFile{
		{"mapping-file", o.mappingFile}, {"shards-kubeconfig", o.shardsKubeconfig}, {"root-kubeconfig", o.rootKubeconfig},
		{"mount-hosts-file", o.mountHostsFile},
		{"tls-cert-file", o.serving.ServerCert.CertKey.CertFile}, {"tls-private-key-file", o.serving.ServerCert.CertKey.KeyFile},
		{"client-ca-file", a.clientCA}, {"requestheader-client-ca-file", a.requestHeaderCA}, {"oidc-ca-file", a.oidcCA},
		{"authentication-config", a.config}, {"authentication-token-webhook-config-file", a.webhookConfig}, {"token-auth-file", a.tokenFile},
		{"service-account-lookup-kubeconfig", a.serviceAccountLookupKubeconfig},
		{"audit-policy-file", o.observe.audit.PolicyFile}, {"audit-webhook-config-file", o.observe.audit.WebhookOptions.ConfigFile},
		{"tracing-config-file", o.observe.tracingFile},
	}
	for _, f := range o.peerKubeconfigs {
		files = append(files, namedFile{"shard-peer-kubeconfig", f})
	}
	for _, f := range a.serviceAccountKeys {
		files = append(files, namedFile{"service-account-key-file", f})
	}
	return files
}

// groupList is a comma-separated list of groups. An element that contains a comma was
// in quotes that a manifest left in the argument. It is split, and quoted records
// that, to warn the operator.
type groupList struct {
	values  []string
	changed bool
	quoted  bool
}

func (l *groupList) Set(value string) error {
	if !l.changed {
		l.values, l.changed = nil, true
	}
	if value == "" {
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return fmt.Errorf("%q is not a comma-separated list: %w", value, err)
	}
	for _, f := range fields {
		l.quoted = l.quoted || strings.Contains(f, ",")
		l.values = append(l.values, strings.Split(f, ",")...)
	}
	return nil
}

// String returns the groups.
func (l *groupList) String() string { return strings.Join(l.values, ",") }

// Type is the name of the value in --help.
func (l *groupList) Type() string { return "strings" }
