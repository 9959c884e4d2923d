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

// options are the command line: every flag of kcp-front-proxy with its meaning
// and default, and ours.
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
	output string         // of check
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
	// serviceAccountLookupKubeconfig: empty means the shards' one.
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
	usernamePrefixGiven  bool
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
	fs.StringVar(&o.mappingFile, "mapping-file", "", "Required. YAML file that maps paths to backends; /clusters/ maps to the shards.")
	fs.StringVar(&o.shardsKubeconfig, "shards-kubeconfig", "", "Required. Kubeconfig to watch workspaces on every shard with. Its server is replaced by each shard's base URL and may be missing.")
	fs.StringVar(&o.rootKubeconfig, "root-kubeconfig", "", "Kubeconfig of the root shard, where the Shard objects are. Empty means the usual places of a kubeconfig, then the service account of the pod.")
	fs.StringArrayVar(&o.peerKubeconfigs, "shard-peer-kubeconfig", nil, "Kubeconfig whose clusters are shards that tell all shards (kcp 0.34 on), preferred to the root shard. May be repeated.")
	fs.StringVar(&o.rootDirectory, "root-directory", ".kcp", "Directory that relative certificate directories start from.")
	fs.StringVar(&o.profilerAddress, "profiler-address", "", "[address]:port to serve Go's profiler on, without authentication. Empty means off.")
	fs.StringVar(&o.debugAddress, "debug-address", "", "Loopback address:port, or unix:///path of a socket, to serve /statusz, /flagz, /metrics and explanations on without TLS or authentication, for when root cannot say who may read them. Empty means off.")
	fs.StringSliceVar(&o.egressDeny, "workspace-egress-deny-cidrs", nil, "Networks that URLs in workspaces (issuers, mounts) must not lead to, comma-separated. Link-local and cloud metadata addresses and the proxy's own never are.")
	fs.StringSliceVar(&o.egressAllow, "workspace-egress-allow-cidrs", nil, "Exceptions from --workspace-egress-deny-cidrs: of all networks that hold an address, the smallest decides.")
	fs.StringSliceVar(&o.egressNAT64, "workspace-egress-nat64-prefixes", nil, "Prefixes of NAT64 translators of the network beside 64:ff9b::/96 and 64:ff9b:1::/48, comma-separated: /32, /40, /48, /56, /64 or /96. Addresses below them are judged by the IPv4 addresses that they carry, too.")
	fs.StringVar(&o.mountHostsFile, "mount-hosts-file", "", "YAML file of hosts outside of kcp that workspaces may mount and that get requests with a CA and client certificate of their own, and who is calling. Re-read when it changes. Empty means that no such host is told who is calling.")
	fs.StringArrayVar(&o.externalURLs, "external-url", nil, "URL that clients reach this proxy by: a mount below it leads to what the caller could reach here itself, and login discovery names it. May be repeated. For mounts, the base and external URLs of all shards always count.")
	fs.StringArrayVar(&o.loginClients, "login-client", nil, "How people log in at an issuer of the operator's, told to everybody when the feature LoginDiscovery is on: comma-separated issuer-url=…, client-id=… and, if need be, name=…, scopes=… (separated by spaces; openid when missing), ca-file=…, client-secret-file=… (of an issuer that gives one even to programs that cannot keep it). May be repeated.")
	fs.StringSliceVar(&o.corsOrigins, "cors-allowed-origins", nil, "Origins that browsers may call from, as regular expressions, comma-separated. Empty means none.")
}

func (o *options) servingFlags(fs *pflag.FlagSet) {
	o.serving.AddFlags(fs)
	fs.StringSliceVar(&o.curves, "tls-curve-preferences", nil, "Key exchange mechanisms to offer, by Go's names or ids, comma-separated. Empty means Go's defaults.")
	fs.IntVar(&o.maxInFlight, "max-requests-inflight", 4000, "How many requests may be at shards and mapped backends at a time, at one of them half as many, in one logical cluster an eighth; others get 429 and Retry-After. Watches, other streams and upgrades are not counted. Requests that wait for an issuer, a mounted host or their own client are not counted either: they share 64 KiB of memory for each of this number. 0 means no bound on either.")
	fs.IntVar(&o.maxConnections, "max-connections", 0, "How many connections clients may have open at a time; more are closed as they come. 0 means half of the file descriptors that the process may have, since most requests need one to a shard, too.")
	fs.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 0, "After SIGTERM, how long to go on serving while /readyz says no, so that load balancers notice.")
	fs.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 60*time.Second, "After the delay, how long requests in flight, watches included, may still run.")
}

func (a *authOptions) certificateFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.clientCA, "client-ca-file", "", "PEM bundle of the CAs whose client certificates name users: the common name is the user, organizations are groups. Re-read when it changes.")
	fs.StringVar(&a.requestHeaderCA, "requestheader-client-ca-file", "", "PEM bundle of the CAs whose client certificates may assert identities in headers. Re-read when it changes.")
	fs.StringSliceVar(&a.requestHeaderNames, "requestheader-allowed-names", nil, "Common names of certificates that may assert identities. Empty means any that --requestheader-client-ca-file verifies.")
	fs.StringSliceVar(&a.requestHeaderUsers, "requestheader-username-headers", nil, "Headers to read the user name from; X-Remote-User is usual.")
	fs.StringSliceVar(&a.requestHeaderUIDs, "requestheader-uid-headers", nil, "Headers to read the UID from; X-Remote-Uid is usual.")
	fs.StringSliceVar(&a.requestHeaderGroups, "requestheader-group-headers", nil, "Headers to read groups from; X-Remote-Group is usual.")
	fs.StringSliceVar(&a.requestHeaderExtraPrefix, "requestheader-extra-headers-prefix", nil, "Prefixes of headers to read extras from; X-Remote-Extra- is usual.")
	fs.Var(&a.passOnGroups, "authentication-pass-on-groups", "Groups that reach a shard; a trailing * matches a prefix. Empty means all. Dropping beats passing on.")
	fs.Var(&a.dropGroups, "authentication-drop-groups", "Groups that never reach a shard; a trailing * matches a prefix. Replaces the default.")
}

func (a *authOptions) tokenFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.tokenFile, "token-auth-file", "", "CSV file of static tokens: token,user,uid,\"group,group\".")
	fs.StringVar(&a.webhookConfig, "authentication-token-webhook-config-file", "", "Kubeconfig of a TokenReview webhook, asked about tokens that nobody else knows.")
	fs.StringVar(&a.webhookVersion, "authentication-token-webhook-version", "v1beta1", "Version of the TokenReviews to send: v1beta1 or v1.")
	fs.DurationVar(&a.webhookTTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "How long to remember what the webhook answered, yes or no.")
	fs.StringSliceVar(&a.audiences, "api-audiences", nil, "Audiences of the API: tokens must carry one. Empty means the service account issuers, for service account tokens only.")
	fs.BoolVar(&a.anonymous, "anonymous-auth", false, "No effect: requests without credentials are refused or left to the shard.")
}

func (a *authOptions) oidcFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.oidcIssuer, "oidc-issuer-url", "", "URL of an OpenID Connect issuer, https only, whose tokens are accepted everywhere.")
	fs.StringVar(&a.oidcClientID, "oidc-client-id", "", "Client id that tokens must be meant for. Required with --oidc-issuer-url.")
	fs.StringVar(&a.oidcCA, "oidc-ca-file", "", "PEM bundle that verifies the issuer. Empty means the system's.")
	fs.StringVar(&a.oidcUsernameClaim, "oidc-username-claim", "sub", "Claim that names the user.")
	fs.StringVar(&a.oidcUsernamePrefix, "oidc-username-prefix", "", "Prefix of user names. Not given means the issuer URL and #, unless the claim is email; - means none.")
	fs.StringVar(&a.oidcGroupsClaim, "oidc-groups-claim", "", "Claim that names groups. Empty means no groups.")
	fs.StringVar(&a.oidcGroupsPrefix, "oidc-groups-prefix", "", "Prefix of groups.")
	fs.StringToStringVar(&a.oidcRequiredClaims, "oidc-required-claim", nil, "key=value that a token must have. May be repeated.")
	fs.StringSliceVar(&a.oidcSigningAlgs, "oidc-signing-algs", []string{"RS256"}, "Signature algorithms to accept, asymmetric ones only.")
	fs.StringVar(&a.config, "authentication-config", "", "AuthenticationConfiguration file (apiserver.config.k8s.io) with JWT issuers, re-read when it changes. Wins over --oidc-*.")
}

func (a *authOptions) serviceAccountFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&a.serviceAccountKeys, "service-account-key-file", nil, "PEM file of public keys, certificates or private keys that verify service account tokens. May be repeated.")
	fs.StringArrayVar(&a.serviceAccountIssuers, "service-account-issuer", []string{"https://kcp.default.svc"}, "Issuer of service account tokens. May be repeated.")
	fs.BoolVar(&a.serviceAccountLookup, "service-account-lookup", true, "Ask the shard of the account's workspace whether the account still exists.")
	fs.StringVar(&a.serviceAccountLookupKubeconfig, "service-account-lookup-kubeconfig", "", "Kubeconfig to ask shards with about service accounts and their Secrets; get on both is all its user needs. Its server is replaced by each shard's base URL. Empty means --shards-kubeconfig.")
	a.accountsAcross.flags(fs)
	fs.StringVar(&a.serviceAccountJWKSURI, "service-account-jwks-uri", "", "No effect: the proxy publishes no keys.")
	fs.DurationVar(&a.serviceAccountMaxExpiry, "service-account-max-token-expiration", 0, "No effect: the proxy issues no tokens.")
	fs.BoolVar(&a.serviceAccountExtend, "service-account-extend-token-expiration", true, "No effect: the proxy issues no tokens.")
}

// parse reads the arguments. Errors name the flag.
func parse(args []string) (*options, *cliflag.NamedFlagSets, error) {
	o := newOptions()
	sections, err := o.parse(args, nil)
	if err != nil {
		return nil, nil, err
	}
	return o, sections, nil
}

// parse reads the arguments; more adds flags of a subcommand.
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
	a.usernamePrefixGiven = all.Changed("oidc-username-prefix")
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

// didYouMean names the flag that an unknown one may be a misspelling of, in
// parentheses. It is empty if there is none, or another error.
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

// complete makes paths absolute and follows kcp in where certificates lie.
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

// validate returns everything that is wrong with the flags by themselves, each
// error naming its flag.
func (o *options) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.mappingFile == "" {
		fail("--mapping-file is required: the YAML file that maps paths to backends")
	}
	if o.shardsKubeconfig == "" {
		fail("--shards-kubeconfig is required: the kubeconfig to watch workspaces on every shard with")
	}
	if v := o.serving.MinTLSVersion; v == "VersionTLS10" || v == "VersionTLS11" {
		fail("--tls-min-version=%s: TLS below 1.2 is not served (RFC 8996); use VersionTLS12 or VersionTLS13", v)
	}
	if o.serving.BindPort == 0 {
		fail("--secure-port=0: there is nothing else to serve on; name a port from 1 to 65535")
	}
	if (o.serving.ServerCert.CertKey.CertFile == "") != (o.serving.ServerCert.CertKey.KeyFile == "") {
		fail("--tls-cert-file and --tls-private-key-file go together: only one is set")
	}
	if o.shutdownDelay < 0 || o.shutdownTimeout < 0 {
		fail("--shutdown-delay-duration and --shutdown-timeout cannot be negative")
	}
	if o.maxConnections < 0 {
		fail("--max-connections=%d: it must be positive, or 0 for half of the file descriptors there are", o.maxConnections)
	}
	if o.maxInFlight < 0 || o.maxInFlight == 1 {
		fail("--max-requests-inflight=%d: it must be 2 or more, or 0 for no bound", o.maxInFlight)
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
		fail("--requestheader-client-ca-file is set but --requestheader-username-headers is not: no header would name the user; X-Remote-User is usual")
	}
	if a.requestHeaderCA == "" && len(a.requestHeaderUsers) > 0 {
		fail("--requestheader-username-headers is set but --requestheader-client-ca-file is not: nobody could be trusted to send it")
	}
	if (a.oidcIssuer == "") != (a.oidcClientID == "") {
		fail("--oidc-issuer-url and --oidc-client-id go together: only one is set")
	}
	if v := a.webhookVersion; v != "v1" && v != "v1beta1" {
		fail("--authentication-token-webhook-version=%q: must be v1 or v1beta1", v)
	}
	if a.webhookTTL < 0 {
		fail("--authentication-token-webhook-cache-ttl=%v: cannot be negative", a.webhookTTL)
	}
	if slices.Contains(a.audiences, "") {
		fail("--api-audiences: an audience is empty")
	}
	if a.serviceAccountsOn() && (len(a.serviceAccountIssuers) == 0 || slices.Contains(a.serviceAccountIssuers, "")) {
		fail("--service-account-issuer: cannot be empty with --service-account-key-file or --service-account-keys-from-shards")
	}
	errs = append(errs, a.blankErrors()...)
	return append(errs, a.accountsAcross.validate()...)
}

type namedFile struct{ flag, path string }

// files are the files that flags name and that must be readable.
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

// groupList is a comma-separated list of groups. An element that still holds a
// comma came in quotes that a manifest left in the argument: it is split, and
// remembered so that the operator is told.
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
		return fmt.Errorf("%q is no comma-separated list: %w", value, err)
	}
	for _, f := range fields {
		l.quoted = l.quoted || strings.Contains(f, ",")
		l.values = append(l.values, strings.Split(f, ",")...)
	}
	return nil
}

// String shows the groups.
func (l *groupList) String() string { return strings.Join(l.values, ",") }

// Type is what --help calls the value.
func (l *groupList) Type() string { return "strings" }
