package jwt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/clock"

	"frontproxy/authn/identity"
	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/clip"
)

// Issuers hands out the issuers that configurations trust.
type Issuers interface {
	// Acquire is issuer.Pool's.
	Acquire(ref issuer.IssuerRef, owner string) (*issuer.Issuer, func(), error)
}

// Builder makes configurations.
type Builder struct {
	config   Config
	digester *token.Digester
	// owner is charged for all; empty means the cluster that is built for.
	owner string
	// evaluations has a slot for each of tenants' evaluations.
	evaluations chan struct{}
	// compiler is shared by all configurations.
	compiler *sharedCompiler
	// caches bounds the caches of verified tokens, mappings those of expressions' outcomes.
	caches, mappings *token.Budgets
}

// Config is what a Builder needs.
type Config struct {
	// Issuers hands out the issuers; somebody else runs it.
	Issuers Issuers
	// DisallowedIssuers are issuer URLs no configuration may name: those of
	// service accounts.
	DisallowedIssuers []string
	// RequireAudiences: a token must have one of them and one of its configuration's;
	// empty: one of its configuration's is enough.
	RequireAudiences []string
	// Limited holds the configurations to tenants' limits.
	Limited bool
	// Name returns an authenticator's name in verdicts, from its configuration, its place
	// in that and its issuer's URL.
	Name func(owner, configuration string, n int, issuer string) string
	// Clock is the time.
	Clock clock.PassiveClock
}

// NewBuilder does no I/O.
func NewBuilder(c Config) *Builder {
	// Else apiserver's OIDC authenticator would record a latency series for every issuer that any
	// tenant ever named: they are global and are never removed. This works only before the first
	// such authenticator is made.
	metrics.SetDisabledMetrics([]string{"apiserver_authentication_jwt_authenticator_latency_seconds"})
	return &Builder{
		config:      c,
		digester:    token.NewDigester(),
		evaluations: make(chan struct{}, evaluationsOfAll()),
		compiler:    newSharedCompiler(c.Clock, c.Limited),
		caches:      token.NewBudgets(),
		mappings:    token.NewBudgetsOf(allMappingBytes, ownersMappingBytes, mappingCacheBytes),
	}
}

// Configuration is a WorkspaceAuthenticationConfiguration made ready. Close
// gives its issuers back; the authenticators are then no longer used.
type Configuration struct {
	Authenticators []*Authenticator
	releases       []func()
}

// Close gives back what the authenticators use.
func (c *Configuration) Close() {
	for _, release := range c.releases {
		release()
	}
}

// Build makes a configuration, and may change what it is given in spec. It waits
// for no issuer. A panic on the way is this configuration's error.
func (b *Builder) Build(owner, name string, spec *Spec) (c *Configuration, err error) {
	c = &Configuration{}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic while building: %v", r)
		}
		if err != nil {
			c.Close()
			c = nil
		}
	}()
	if b.config.Limited {
		if err := checkSafety(spec.Entries); err != nil {
			return c, err
		}
	}
	compiler := b.compiler.begin(cmp.Or(b.owner, owner))
	c.releases = append(c.releases, compiler.release)
	// The whole and original spec: what is blanked below counts here.
	original := &apiserver.AuthenticationConfiguration{JWT: spec.Entries}
	if errs := validation.ValidateAuthenticationConfiguration(compiler, original, b.config.DisallowedIssuers); len(errs) > 0 {
		return c, newSpecError(errs, b.config.Limited)
	}
	for i := range spec.Entries {
		if err := b.add(c, owner, name, i, &spec.Entries[i], compiler); err != nil {
			return c, fmt.Errorf("spec.jwt[%d]: %w", i, err)
		}
	}
	return c, nil
}

const (
	maxSpecErrors = 1000 // bytes for the messages about a spec's faults together
	maxSpecError  = 300  // and of one
	maxBadValue   = 80   // bytes of the value that a fault is in
)

// specError has the faults of a spec, each on one line, with its field and its cause.
type specError []error

// newSpecError cuts long values, so that they do not push out the causes, which come after them.
// When limited, it counts faults that do not fit.
func newSpecError(faults field.ErrorList, limited bool) specError {
	var all specError
	left := maxSpecErrors
	for n, fault := range faults {
		short := *fault
		if value, ok := fault.BadValue.(string); ok {
			short.BadValue = clip.Clone(value, maxBadValue)
		}
		// CEL draws the expression below its message, with an arrow.
		lines := slices.DeleteFunc(strings.Split(fault.Detail, "\n"), func(line string) bool { return strings.HasPrefix(line, " |") })
		short.Detail = strings.Join(lines, "; ")
		text := clip.Clone(short.Error(), maxSpecError)
		if left -= len(text); left < 0 && limited {
			return append(all, fmt.Errorf("and %d more", len(faults)-n))
		}
		all = append(all, errors.New(text))
	}
	return all
}

func (e specError) Error() string {
	var shown []string
	for _, fault := range e {
		shown = append(shown, fault.Error())
	}
	return "invalid spec: " + strings.Join(shown, "; ")
}

// Unwrap returns the faults.
func (e specError) Unwrap() []error { return e }

func (b *Builder) add(c *Configuration, owner, name string, n int, entry *apiserver.JWTAuthenticator, compiler *compilation) error {
	ref := RefOf(entry)
	keys, release, err := b.config.Issuers.Acquire(ref, cmp.Or(b.owner, owner))
	if err != nil {
		return err
	}
	c.releases = append(c.releases, release)
	blank := *entry
	blank.Issuer.DiscoveryURL = ""         // excludes KeySet
	blank.Issuer.CertificateAuthority = "" // the issuer has it; one copy for all
	upstream, err := oidc.New(context.Background(), oidc.Options{
		JWTAuthenticator:     blank,
		KeySet:               preverifiedKeySet{keys},
		Client:               &http.Client{Transport: refusing{}},
		Compiler:             compiler,
		SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(),
		DisallowedIssuers:    b.config.DisallowedIssuers,
	})
	if err != nil {
		return err
	}
	budget, releaseBudget := b.caches.Acquire(cmp.Or(b.owner, owner))
	mappings, releaseMappings := b.mappings.Acquire(cmp.Or(b.owner, owner))
	a := &Authenticator{
		name:      b.config.Name(owner, name, n, entry.Issuer.URL),
		issuer:    keys,
		issuerID:  ref.ID(),
		upstream:  upstream,
		audiences: entry.Issuer.Audiences, audienceSet: sets.New(entry.Issuer.Audiences...),
		required: b.config.RequireAudiences, requiredSet: sets.New(b.config.RequireAudiences...),
		evaluates: len(expressions(entry)) > 0,
		digester:  b.digester,
		cache:     token.NewCache[user.Info](token.CacheBytes, budget),
		mappings:  bytecache.New[token.Digest, mapping](mappingCacheBytes, mappings),
		clock:     b.config.Clock,
		built:     b.config.Clock.Now(),
	}
	a.maxToken, a.limits = operatorsTokenBytes, identity.OperatorsLimits
	if b.config.Limited {
		a.evaluations = b.evaluations
		a.maxToken, a.limits = MaxTokenBytes, identity.TenantsLimits
	}
	c.Authenticators = append(c.Authenticators, a)
	c.releases = append(c.releases, func() {
		a.cache.Close()
		releaseBudget()
		a.mappings.Close()
		releaseMappings()
	})
	return nil
}

// refusing is the transport by which upstream would fetch distributed claims, from wherever a
// token says. It fetches nothing.
type refusing struct{}

func (refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, errors.New("the proxy fetches no distributed claims")
}

// WithOwner returns a builder that charges one owner for all that it builds.
func (b *Builder) WithOwner(owner string) *Builder {
	other := *b
	other.owner = owner
	return &other
}
