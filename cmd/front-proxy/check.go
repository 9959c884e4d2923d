package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"frontproxy/authn"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
	"frontproxy/authn/tokenfile"
	"frontproxy/index"
	"frontproxy/internal/certs"
	"frontproxy/proxy"
	"frontproxy/proxy/routing"
)

const checkUsage = `Check takes the flags of the server and reports every fault in them and in the
files that they name: the mapping file, kubeconfigs, certificates and keys,
authentication and audit configuration. It does not listen, connect to anything
or write a file.

The exit status is 0 if front-proxy would start, even if there are warnings; 1
if there are errors; 2 if the command line cannot be read.
`

// soon is how long before a certificate's expiry check warns.
const soon = 7 * 24 * time.Hour

// Findings are the results of check.
type Findings struct {
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
}

// newCheckCommand returns the command with the sections of its flags.
func newCheckCommand() (*cobra.Command, *cliflag.NamedFlagSets) {
	o, output := newOptions(), ""
	sections := o.flags()
	flags := sections.FlagSet("check")
	flags.StringVarP(&output, "output", "o", "text", outputUsage)
	c := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "check [flags of the server] [-o text|json|yaml]", Short: "Report what is wrong with flags and files, before a start", Long: checkUsage,
		Args: outputOnly(&output),
		RunE: func(c *cobra.Command, _ []string) error {
			o.read(c.Flags())
			return runCheck(o, output, c.OutOrStdout())
		},
	}
	addSections(c.Flags(), sections)
	completeOutput(c)
	return c, sections
}

// runCheck prints what is wrong with the flags and files.
func runCheck(o *options, output string, stdout io.Writer) error {
	c := &checker{o: o, now: time.Now(), found: Findings{Errors: []string{}, Warnings: []string{}}}
	c.all() //nolint:contextcheck // it starts nothing
	if err := render(stdout, output, c.found, c.text); err != nil {
		return err
	}
	if len(c.found.Errors) > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// checker checks all files that flags name.
type checker struct {
	o     *options
	now   time.Time
	found Findings
	parts *program // makes what can be made without listening; never runs
}

func (c *checker) text(w io.Writer) {
	for _, e := range c.found.Errors {
		_, _ = fmt.Fprintf(w, "error: %s\n", e)
	}
	for _, m := range c.found.Warnings {
		_, _ = fmt.Fprintf(w, "warning: %s\n", m)
	}
	_, _ = fmt.Fprintf(w, "%s, %s\n", count(len(c.found.Errors), "error"), count(len(c.found.Warnings), "warning"))
}

// count returns "1 error", "2 errors" and so on.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// fail records an error, each of several that are joined by itself, and each once.
func (c *checker) fail(err error) { c.failIn("", err) }

// failIn is fail for an error about the content of a YAML file.
func (c *checker) failIn(file string, err error) {
	if err == nil {
		return
	}
	for _, problem := range problems(err) {
		if file != "" {
			problem = withLine(problem, file)
		}
		if !slices.Contains(c.found.Errors, problem) {
			c.found.Errors = append(c.found.Errors, problem)
		}
	}
}

func (c *checker) warn(format string, args ...any) {
	if text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "); !slices.Contains(c.found.Warnings, text) {
		c.found.Warnings = append(c.found.Warnings, text)
	}
}

// warnings is a log sink that turns the log lines of loading into warnings: the message with
// its values.
type warnings struct {
	warn func(format string, args ...any)
}

func (w warnings) Init(logr.RuntimeInfo) {}

func (w warnings) Enabled(int) bool { return true }

func (w warnings) WithName(string) logr.LogSink { return w }

func (w warnings) WithValues(...any) logr.LogSink { return w }

func (w warnings) Error(err error, msg string, values ...any) {
	w.Info(0, msg, append([]any{"err", err}, values...)...)
}

func (w warnings) Info(_ int, msg string, values ...any) {
	var text strings.Builder
	for n := 0; n+1 < len(values); n += 2 {
		separator := ", "
		if n == 0 {
			separator = ": "
		}
		if key := fmt.Sprint(values[n]); key == "note" {
			_, _ = fmt.Fprintf(&text, "%s%v", separator, values[n+1])
		} else {
			_, _ = fmt.Fprintf(&text, "%s%s %v", separator, key, values[n+1])
		}
	}
	w.warn("%s%s", msg, text.String())
}

func (c *checker) all() {
	o := c.o
	c.fail(o.complete())
	c.fail(o.validate())
	log := logr.New(warnings{c.warn})
	o.notices(log)
	idx := index.New(clock.RealClock{})
	c.parts = newProgram(log, idx)
	mappings := c.mappings()
	c.serving()
	c.kubeconfigs()
	config := c.certificates()
	c.tokens(&config)
	c.logins(config.Tokens)
	decider, err := authn.New(config)
	c.fail(err)
	c.observers()
	c.mountHosts()
	if mappings == nil || decider == nil {
		return
	}
	_, err = proxy.New(o.acrossShards(idx, decider, proxy.Config{Routing: routing.Config{Mappings: mappings, Index: idx}, Decider: decider, CORSOrigins: o.serving.corsOrigins}))
	c.fail(err)
}

// readable reports whether a flag names a file that can be opened; if not, validate
// has reported it.
func readable(path string) bool {
	f, err := os.Open(path) //nolint:gosec // the operator's file
	if path == "" || err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// blank reports whether a file has nothing but white space: with such a file the proxy does not
// start.
func blank(path string) bool {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's file
	return err == nil && len(bytes.TrimSpace(text)) == 0
}

func (c *checker) mappings() *routing.Mappings {
	if !readable(c.o.routing.mappingFile) {
		return nil
	}
	m, err := loadMappings(c.o.routing.mappingFile)
	c.fail(err)
	if m == nil {
		return nil
	}
	for _, warning := range m.Warnings() {
		c.warn("%s", warning)
	}
	if err == nil {
		for _, unserved := range m.Unserved() {
			c.warn("mapping file %s: %s", c.o.routing.mappingFile, unserved)
		}
	}
	c.backends(m.Certificates())
	if err != nil {
		return nil
	}
	return m
}

// backends checks the certificates of a mapping or of mount hosts.
func (c *checker) backends(all []certs.Source) {
	for _, found := range all {
		if found.Role == "client" {
			c.leaf(found.Source+": proxy_client_cert", found.PEM())
		} else {
			c.bundle(found.Source+": backend_server_ca", found.PEM())
		}
	}
}

func (c *checker) mountHosts() {
	hosts, err := c.parts.mountHosts(c.o)
	c.fail(err)
	if hosts != nil {
		c.backends(hosts.Certificates())
	}
}

// serving checks the serving certificates.
func (c *checker) serving() {
	s := c.o.serving
	pair := s.ServerCert.CertKey
	switch {
	case readable(pair.CertFile) && readable(pair.KeyFile):
		c.pair("--tls-cert-file", pair.CertFile, "--tls-private-key-file", pair.KeyFile)
	case pair.CertFile == "" && pair.KeyFile == "":
		c.warn("--tls-cert-file is not set: the proxy creates a self-signed certificate in %s, which no client trusts", s.ServerCert.CertDirectory)
	}
	for _, sni := range s.SNICertKeys {
		if !readable(sni.CertFile) || !readable(sni.KeyFile) {
			continue
		}
		c.pair("--tls-sni-cert-key", sni.CertFile, "its key", sni.KeyFile)
	}
}

func (c *checker) pair(certFlag, certFile, keyFlag, keyFile string) {
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		c.fail(fmt.Errorf("%s %s and %s %s do not match: %w", certFlag, certFile, keyFlag, keyFile, err))
		return
	}
	text, err := os.ReadFile(certFile) //nolint:gosec // the operator's file
	c.fail(err)
	c.leaf(certFlag+" "+certFile, text)
}

// leaf checks the validity period of a certificate; the certificates after it are its
// chain.
func (c *checker) leaf(what string, text []byte) {
	certs, err := cert.ParseCertsPEM(text)
	if len(text) == 0 {
		return // none is configured
	}
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", what, err))
		return
	}
	switch leaf := certs[0]; {
	case c.now.After(leaf.NotAfter):
		c.fail(fmt.Errorf("%s: the certificate of %q expired at %s", what, leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339)))
	case c.now.Before(leaf.NotBefore):
		c.fail(fmt.Errorf("%s: the certificate of %q is not valid before %s", what, leaf.Subject.CommonName, leaf.NotBefore.UTC().Format(time.RFC3339)))
	case leaf.NotAfter.Sub(c.now) < soon:
		c.warn("%s: the certificate of %q expires at %s", what, leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

// bundle checks CAs: one that has expired is a leftover; if all have, it is an error.
func (c *checker) bundle(what string, text []byte) {
	certs, err := cert.ParseCertsPEM(text)
	if err != nil {
		return // loading reports it
	}
	ended := 0
	for _, ca := range certs {
		if c.now.After(ca.NotAfter) {
			ended++
			c.warn("%s: the CA %q expired at %s", what, ca.Subject.String(), ca.NotAfter.UTC().Format(time.RFC3339))
		}
		if selfSigned := ca.Subject.String() == ca.Issuer.String(); !ca.IsCA && !selfSigned {
			c.warn("%s: %q is not a CA certificate", what, ca.Subject.String())
		}
	}
	if ended == len(certs) {
		c.fail(fmt.Errorf("%s: every CA in it has expired", what))
	}
}

func (c *checker) kubeconfigs() {
	o := c.o
	if o.shards.rootKubeconfig == "" || readable(o.shards.rootKubeconfig) {
		config, err := rootConfig(o.shards.rootKubeconfig)
		c.kubeconfig("--root-kubeconfig", config, err)
	}
	for flag, path := range map[string]string{"shards-kubeconfig": o.shards.kubeconfig, "service-account-lookup-kubeconfig": o.auth.accounts.lookupKubeconfig} {
		if !readable(path) {
			continue
		}
		if blank(path) { // client-go takes that for a kubeconfig without a credential
			c.fail(fmt.Errorf("--%s: %q is empty", flag, path))
			continue
		}
		config, err := everyShardConfig(flag, path)
		c.kubeconfig("--"+flag, config, err)
	}
	if slices.ContainsFunc(o.shards.peerKubeconfigs, func(p string) bool { return !readable(p) }) {
		return
	}
	peers, err := peerConfigs(o.shards.peerKubeconfigs)
	c.fail(err)
	for _, p := range peers {
		c.kubeconfig("--shard-peer-kubeconfig "+p.Host, p, nil)
	}
}

// kubeconfig checks a kubeconfig and the files that it names.
func (c *checker) kubeconfig(what string, config *rest.Config, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	config = rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(config); err != nil {
		c.fail(fmt.Errorf("%s: %w", what, err))
		return
	}
	if _, err := rest.TLSConfigFor(config); err != nil { // for example because certificate and key do not match
		c.fail(fmt.Errorf("%s: %w", what, err))
		return
	}
	c.leaf(what+": client certificate", config.CertData)
	c.bundle(what+": certificate authority", config.CAData)
	if config.Insecure {
		c.warn("%s: insecure-skip-tls-verify is set: any server can impersonate the shard", what)
	}
	if len(config.CertData) == 0 && config.BearerToken == "" && config.BearerTokenFile == "" && config.ExecProvider == nil && config.AuthProvider == nil && config.Username == "" {
		c.warn("%s: its user has no credential", what)
	}
}

// certificates checks the CA bundles of clients.
func (c *checker) certificates() authn.Config {
	config := authn.Config{}
	_, err := c.parts.certificates(c.o, &config)
	c.fail(err)
	if config.ClientCAs != nil {
		c.bundle("--client-ca-file", config.ClientCAs.CurrentCABundleContent())
	}
	if config.RequestHeader != nil {
		c.bundle("--requestheader-client-ca-file", config.RequestHeader.CAs.CurrentCABundleContent())
		if len(config.RequestHeader.AllowedNames) == 0 {
			c.warn("--requestheader-allowed-names is empty: every certificate that --requestheader-client-ca-file verifies may assert any identity")
		}
	}
	return config
}

// tokens checks the files of the token authenticators.
func (c *checker) tokens(config *authn.Config) {
	a, log := &c.o.auth, c.parts.log
	if readable(a.tokens.file) {
		_, err := tokenfile.New(a.tokens.file, nil, log)
		c.fail(err)
	}
	for _, file := range a.accounts.keyFiles { // separately, so that all errors are reported
		if readable(file) {
			_, err := serviceaccount.NewKeyFiles([]string{file}, nil, log)
			c.fail(err)
		}
	}
	if readable(a.webhook.ConfigFile) {
		_, err := c.parts.webhook(a)
		c.fail(err)
	}
	if a.oidc.config == "" && (a.oidc.issuer.IssuerURL == "" || a.oidc.issuer.ClientID == "") {
		return // nothing to read, or validate has reported it
	}
	tokens, err := c.parts.oidc(a)
	c.failIn(a.oidc.config, err)
	if err == nil {
		config.Tokens = append(config.Tokens, tokens)
	}
}

// logins checks the clients of --login-client.
func (c *checker) logins(tokens []token.Authenticator) {
	a := &c.o.auth
	clients, err := parseLoginClients(c.o.loginClients)
	if err != nil || !c.o.loginDiscoveryOn() || len(tokens) == 0 && (a.oidc.config != "" || a.oidc.issuer.Set()) {
		return // already reported
	}
	c.fail(c.o.acceptsLogins(clients, tokens))
}

// observers checks audit and tracing.
func (c *checker) observers() {
	o := &c.o.observe
	if readable(o.audit.PolicyFile) {
		c.auditPolicy(o.audit.PolicyFile)
	}
	if readable(o.tracingFile) {
		_, err := tracingConfig(o.tracingFile)
		c.failIn(o.tracingFile, err)
	}
}

// auditPolicy checks an audit policy. The server logs fields that are unknown or duplicate and
// ignores them.
func (c *checker) auditPolicy(file string) {
	const flag = "--audit-policy-file "
	text, err := os.ReadFile(file) //nolint:gosec // the operator's file
	if err != nil {
		c.fail(fmt.Errorf("%s%w", flag, err))
		return
	}
	var known auditv1.Policy
	if err := yaml.Unmarshal(text, &known); err != nil {
		c.fail(fmt.Errorf("%s%s: %w", flag, file, err))
		return
	}
	decoder := serializer.NewCodecFactory(audit.Scheme, serializer.EnableStrict).UniversalDecoder()
	if _, _, err := decoder.Decode(text, nil, &auditinternal.Policy{}); runtime.IsStrictDecodingError(err) {
		for _, problem := range problems(err) {
			c.warn("%s, which is ignored", withLine(flag+file+": "+problem, file))
		}
	}
	if text, err = json.Marshal(&known); err == nil { // without what is ignored, which the policy's reader would log
		_, err = policy.LoadPolicyFromBytes(text)
	}
	if err != nil {
		c.failIn(file, fmt.Errorf("%s%s: %w", flag, file, err))
	}
}
