package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
)

// options are the command line: every flag of kcp-front-proxy, with its meaning and
// default, and our own flags.
type options struct {
	serving servingOptions
	limits  limitOptions
	rates   rateOptions
	routing routingOptions
	shards  shardOptions
	egress  egressOptions
	debug   debugOptions
	auth    authOptions
	across  multiShardOptions
	observe observeOptions
	gates   gates
	logging *logsapi.LoggingConfiguration

	rootDirectory string
	loginClients  []string

	all *pflag.FlagSet // with what was given
}

func newOptions() *options {
	o := &options{serving: servingOptions{SecureServingOptions: genericoptions.NewSecureServingOptions()}, logging: logsapi.NewLoggingConfiguration()}
	o.serving.BindPort = 443
	o.serving.ServerCert.CertDirectory = ""
	o.serving.ServerCert.PairName = "apiserver" // the file names of a kcp root directory
	o.logging.Verbosity = 2
	o.auth.groups.drop = []string{"system:masters", "system:kcp:logical-cluster-admin", "system:kcp:initializer:*", "system:kcp:terminator:*"}
	return o
}

// flags returns every flag, in the sections of --help.
func (o *options) flags() *cliflag.NamedFlagSets {
	sections := &cliflag.NamedFlagSets{}
	proxy := sections.FlagSet("proxy")
	o.routing.flags(proxy)
	o.shards.flags(proxy)
	o.egress.flags(proxy)
	o.debug.flags(proxy)
	proxy.StringVar(&o.rootDirectory, "root-directory", ".kcp", "Directory to which relative certificate directories are relative.")
	proxy.StringArrayVar(&o.loginClients, "login-client", nil, "How people log in at one of the operator's issuers; published to everybody with the feature gate LoginDiscovery. Comma-separated issuer-url=…, client-id=… and, optionally, name=…, scopes=… (separated by spaces; default openid), ca-file=…, client-secret-file=… (for an issuer that gives a secret even to programs that cannot keep it). May be repeated.")
	proxy.StringSliceVar(&o.serving.corsOrigins, "cors-allowed-origins", nil, "Origins from which browsers may send requests, as regular expressions, comma-separated. Empty means none.")
	serving := sections.FlagSet("serving")
	o.serving.flags(serving)
	o.limits.flags(serving)
	o.rates.flags(serving)
	certificates := sections.FlagSet("authentication by certificate")
	o.auth.certificates.flags(certificates)
	o.auth.groups.flags(certificates)
	o.auth.tokenFlags(sections.FlagSet("authentication by token"))
	o.auth.oidc.flags(sections.FlagSet("authentication by OIDC"))
	o.auth.accounts.flags(sections.FlagSet("service accounts"))
	o.across.flags(sections.FlagSet("across shards"))
	o.observe.flags(sections.FlagSet("audit"), sections.FlagSet("tracing"))
	logsapi.AddFlags(o.logging, sections.FlagSet("logging"))
	other := sections.FlagSet("other")
	other.Var(&o.gates, "feature-gates", gateHelp())
	other.Bool("version", false, "Print the version and exit.")
	other.BoolP("help", "h", false, "Print this help and exit.")
	return sections
}

// read notes all parsed flags, and settles what they say together.
func (o *options) read(all *pflag.FlagSet) {
	o.all = all
	o.auth.groups.splitQuoted()
}

// complete makes paths absolute, so that errors and /flagz say which files are meant.
// Certificates have the same default locations as in kcp.
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
	for _, f := range o.files() {
		if *f.path, err = filepath.Abs(*f.path); err != nil {
			return fmt.Errorf("--%s: %w", f.flag, err)
		}
	}
	return nil
}

// validate returns everything that is wrong with the flags themselves. Each error
// names its flag.
func (o *options) validate() error {
	errs := []error{
		o.routing.validate(), o.shards.validate(), o.serving.validate(), o.limits.validate(), o.rates.validate(), o.egress.validate(), o.validateLogin(),
		o.debug.validate(), o.auth.validate(), o.validateBlanks(), o.across.validate(), o.observe.validate(),
	}
	for _, f := range o.files() {
		file, err := os.Open(*f.path)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", f.flag, err))
			continue
		}
		_ = file.Close()
	}
	return errors.Join(errs...)
}

// namedFile is a file that the value of a flag names.
type namedFile struct {
	flag string
	path *string
}

// files returns the files that flags name and that must be readable.
func (o *options) files() []namedFile {
	files := []namedFile{
		{"mapping-file", &o.routing.mappingFile}, {"shards-kubeconfig", &o.shards.kubeconfig}, {"root-kubeconfig", &o.shards.rootKubeconfig},
		{"mount-hosts-file", &o.routing.mountHostsFile},
		{"tls-cert-file", &o.serving.ServerCert.CertKey.CertFile}, {"tls-private-key-file", &o.serving.ServerCert.CertKey.KeyFile},
		{"audit-policy-file", &o.observe.audit.PolicyFile}, {"audit-webhook-config-file", &o.observe.audit.WebhookOptions.ConfigFile},
		{"tracing-config-file", &o.observe.tracingFile},
	}
	for i := range o.serving.SNICertKeys {
		files = append(files, namedFile{"tls-sni-cert-key", &o.serving.SNICertKeys[i].CertFile}, namedFile{"tls-sni-cert-key", &o.serving.SNICertKeys[i].KeyFile})
	}
	for i := range o.shards.peerKubeconfigs {
		files = append(files, namedFile{"shard-peer-kubeconfig", &o.shards.peerKubeconfigs[i]})
	}
	return slices.DeleteFunc(append(files, o.auth.files()...), func(f namedFile) bool { return *f.path == "" })
}
