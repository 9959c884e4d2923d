package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/identity"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/internal/clip"
	"frontproxy/internal/filewatch"
)

const (
	// configFlag names the file in errors.
	configFlag = "--authentication-config"
	// operator is charged for fetches from the operator's issuers.
	operator = "(operator)"
	// evaluationsAtOnce is how many tokens' CEL expressions run at once.
	evaluationsAtOnce = 16
	// readyWait is how long a changed configuration waits for the keys of issuers
	// that are new in it.
	readyWait = 10 * time.Second
)

// Config of an Authenticator.
type Config struct {
	// Flags are --oidc-*.
	Flags Flags
	// ConfigFile is --authentication-config. It wins over Flags, with a warning.
	ConfigFile string
	// DisallowedIssuers are those of service accounts.
	DisallowedIssuers []string
	// Issuers provides the issuers; its owner runs it. The operator's issuers may be
	// at addresses that tenants' issuers must not use, so it should be a separate
	// pool.
	Issuers jwt.Issuers
	// Refused is called with the reason of every refusal, for a metric; nil: they are not counted.
	Refused func(token.Reason)
	// Clock is the time; nil means the real one.
	Clock clock.Clock
	// Log gets warnings, and a line for each reload. The zero Logger is silent.
	Log klog.Logger
}

// Authenticator has the operator's OIDC issuers, from flags or a structured
// configuration, which it follows while Run runs.
//
// It works like a workspace type's authenticators (see workspacetypes), without their
// limits on the size of configurations and tokens. Unlike kube, neither resolves
// distributed claims: a token would name a URL for the proxy to fetch while its sender
// waits. A token whose groups would come from such a claim is refused.
type Authenticator struct {
	config      Config
	builder     *jwt.Builder
	decoder     runtime.Decoder
	evaluations chan struct{}

	// A changed configuration is used when the keys of its new issuers have been
	// read, or after ten seconds: an issuer that is down must not block removing another.
	*filewatch.File[*state]

	last *state // loaded; used by load alone
}

// state is one reading of the configuration. Immutable.
type state struct {
	entries  []apiserver.JWTAuthenticator
	built    *jwt.Configuration
	byIssuer map[string]jwt.BoundedAuthenticator
	algs     []string // nil: all that are known
}

// New reads and builds the configuration. It waits for no issuer.
func New(c Config) (*Authenticator, error) {
	if c.ConfigFile == "" && !c.Flags.Set() {
		return nil, fmt.Errorf("neither %s nor --oidc-issuer-url is set", configFlag)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Refused == nil {
		c.Refused = func(token.Reason) {}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	o := &Authenticator{
		config:      c,
		builder:     jwt.NewBuilder(jwt.Config{Issuers: c.Issuers, DisallowedIssuers: c.DisallowedIssuers, Name: entryName, Clock: c.Clock}),
		decoder:     codecs.UniversalDecoder(),
		evaluations: make(chan struct{}, evaluationsAtOnce),
	}
	if c.ConfigFile != "" && c.Flags.Set() {
		c.Log.Info("--oidc-* has no effect with --authentication-config; remove it", "file", c.ConfigFile)
	}
	var err error
	o.File, err = filewatch.New(filewatch.Config[*state]{Name: o.Flag(), Load: o.load, Use: o.close, Clock: c.Clock, Log: c.Log})
	return o, err
}

// Name implements token.Authenticator.
func (o *Authenticator) Name() string { return "oidc" }

// AuthenticateToken implements token.Authenticator.
func (o *Authenticator) AuthenticateToken(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	state := o.Get()
	a, ok := state.byIssuer[t.Issuer]
	if !t.JWT || !ok {
		return nil, time.Time{}, nil
	}
	if err := state.checkAlgorithm(t.Raw); err != nil {
		o.count(t.Purpose, err)
		return nil, time.Time{}, fmt.Errorf("%s: %w", a.Name(), err)
	}
	u, until, err := a.AuthenticateToken(ctx, t)
	if err != nil {
		o.count(t.Purpose, err)
		return nil, time.Time{}, fmt.Errorf("%s: %w", a.Name(), err)
	}
	return u, until, nil
}

// count counts err if it is a refusal, and if somebody asked to be let in.
func (o *Authenticator) count(purpose token.Purpose, err error) {
	if err != nil && purpose.Counted() && !errors.Is(err, token.ErrUndecided) {
		o.config.Refused(jwt.ReasonOf(err))
	}
}

// CheckRevoked implements token.RevocationChecker.
func (o *Authenticator) CheckRevoked(ctx context.Context, t token.Token, until time.Time) (bool, error) {
	a, ok := o.Get().byIssuer[t.Issuer]
	if !ok {
		return false, nil
	}
	judged, err := a.CheckRevoked(ctx, t, until)
	o.count(t.Purpose, err)
	return judged, err
}

// checkAlgorithm reads the header as its verifier does: names by case, none
// twice.
func (s *state) checkAlgorithm(raw string) error {
	if s.algs == nil {
		return nil
	}
	part, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return token.Refuse(token.ReasonMalformed, "malformed token header")
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	if err := josejson.Unmarshal(text, &header); err != nil {
		return token.Refuse(token.ReasonMalformed, "malformed token header")
	}
	if !slices.Contains(s.algs, header.Algorithm) {
		return token.Refuse(token.ReasonSignature, "the token is signed with %q, --oidc-signing-algs allows %q", clip.Clone(header.Algorithm, 64), s.algs)
	}
	return nil
}

// Flag names the file that is followed.
func (o *Authenticator) Flag() string {
	if o.config.ConfigFile == "" {
		return "oidc-ca-file"
	}
	return strings.TrimPrefix(configFlag, "--")
}

// Issuers are the issuer URLs in use, sorted.
func (o *Authenticator) Issuers() []string {
	return slices.Sorted(maps.Keys(o.Get().byIssuer))
}

// close gives up a state that was replaced. Requests that still use it end as they would have.
func (o *Authenticator) close(old, next *state) {
	if old != next {
		old.built.Close()
	}
}

// load makes a state of the configuration; the last one when it means the same.
func (o *Authenticator) load(ctx context.Context, read filewatch.ReadFunc) (*state, error) {
	next, source, err := o.read(read)
	if err != nil {
		return nil, err
	}
	old := o.last
	if old != nil && reflect.DeepEqual(old.entries, next.entries) {
		return old, nil
	}
	// Building may change what it is given, so it gets copies.
	if next.built, err = o.builder.Build(operator, source, jwt.NewSpec(next.entries)); err != nil { //nolint:contextcheck // upstream keeps the context it is given: none may end
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	next.byIssuer = make(map[string]jwt.BoundedAuthenticator, len(next.built.Authenticators))
	for _, a := range next.built.Authenticators {
		next.byIssuer[a.Issuer().URL()] = jwt.BoundedAuthenticator{Authenticator: a, Types: o.evaluations}
	}
	if o.config.ConfigFile != "" { // flags are judged where they are read
		for n := range next.entries {
			for _, note := range unusable(fmt.Sprintf("jwt[%d]", n), &next.entries[n]) {
				o.config.Log.Info("A value of --authentication-config has no effect or is refused", "file", o.config.ConfigFile, "note", note)
			}
		}
	}
	if old != nil {
		o.awaitKeys(ctx, next)
	}
	o.last = next
	return next, nil
}

// read returns the configured entries and what to call their source in errors.
func (o *Authenticator) read(readFile filewatch.ReadFunc) (s *state, source string, err error) {
	if o.config.ConfigFile == "" {
		entry, err := o.config.Flags.entry(readFile)
		if err != nil {
			return nil, "", err
		}
		algs, err := o.config.Flags.signingAlgs()
		if err != nil {
			return nil, "", err
		}
		return &state{entries: []apiserver.JWTAuthenticator{*entry}, algs: algs}, "--oidc-issuer-url", nil
	}
	source = fmt.Sprintf("%s %q", configFlag, o.config.ConfigFile)
	text, err := readFile(o.config.ConfigFile)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", configFlag, err)
	}
	decoded, err := o.decode(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", source, err)
	}
	for n := range decoded.JWT {
		if decoded.JWT[n].Issuer.EgressSelectorType != "" {
			return nil, "", fmt.Errorf("%s: jwt[%d].issuer.egressSelectorType: the proxy has no egress selectors; remove it", source, n)
		}
	}
	return &state{entries: decoded.JWT}, source, nil
}

// decode takes the versions that kube-apiserver takes, strictly. Defaults are
// kube's.
func (o *Authenticator) decode(text []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, errors.New("the file is empty")
	}
	object, err := runtime.Decode(o.decoder, text)
	if err != nil {
		return nil, err
	}
	decoded, ok := object.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("the file has a %T, not an AuthenticationConfiguration", object)
	}
	if decoded.Anonymous != nil {
		o.config.Log.Info("The section anonymous of --authentication-config has no effect: the shards decide about requests without credentials", "file", o.config.ConfigFile)
	}
	return decoded, nil
}

// unusable returns a note about each value of an entry that can match nothing, or
// whose matches are refused.
func unusable(name string, e *apiserver.JWTAuthenticator) (notes []string) {
	check := func(field, text, followedBy, effect string) {
		if text == "" {
			return // means something else than an empty text
		}
		if err := identity.CheckName(name+"."+field, text+followedBy); err != nil {
			notes = append(notes, fmt.Sprintf("%v: %s", err, effect))
		}
	}
	const matches, refused = "it matches only values with the same characters", "users with such a name are refused (401)"
	for n, audience := range e.Issuer.Audiences {
		check(fmt.Sprintf("issuer.audiences[%d]", n), audience, "", matches)
	}
	m := &e.ClaimMappings
	check("claimMappings.username.claim", m.Username.Claim, "", matches)
	check("claimMappings.groups.claim", m.Groups.Claim, "", matches)
	check("claimMappings.uid.claim", m.UID.Claim, "", matches)
	for field, prefix := range map[string]*string{"claimMappings.username.prefix": m.Username.Prefix, "claimMappings.groups.prefix": m.Groups.Prefix} {
		if prefix != nil {
			check(field, *prefix, "x", refused) // white space at its end is not at the end of a name
		}
	}
	for n, rule := range e.ClaimValidationRules {
		check(fmt.Sprintf("claimValidationRules[%d].claim", n), rule.Claim, "", matches)
		check(fmt.Sprintf("claimValidationRules[%d].requiredValue", n), rule.RequiredValue, "", matches)
	}
	slices.Sort(notes)
	return notes
}

// entryName is what verdicts call an entry.
func entryName(_, _ string, n int, issuer string) string {
	return fmt.Sprintf("jwt[%d] %s", n, issuer)
}

// awaitKeys waits until the issuers of s have been read once, but not for long.
func (o *Authenticator) awaitKeys(ctx context.Context, s *state) {
	timer := o.config.Clock.NewTimer(readyWait)
	defer timer.Stop()
	for _, a := range s.built.Authenticators {
		select {
		case <-a.Issuer().Ready():
		case <-timer.C():
			o.config.Log.Info("Using the OIDC configuration although some of its issuers could not be read yet", "missing", a.Issuer().URL())
			return
		case <-ctx.Done():
			return
		}
	}
}

// Describe implements describer.
func (o *Authenticator) Describe() []authstatus.Authenticator {
	var all []authstatus.Authenticator
	for _, a := range o.Get().built.Authenticators {
		all = append(all, a.Describe(o.Name()+" "+a.Name(), false))
	}
	return authstatus.NotReloaded(all, o.LastError())
}
