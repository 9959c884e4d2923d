package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/internal/clip"
	"frontproxy/internal/jwks"
)

// ErrUnavailable is wrapped by Verify's error when the token can't be judged:
// the issuer's keys were never read, it has had no usable key for a short time, or
// the token's key is unknown and the issuer can't be asked now.
var ErrUnavailable = errors.New("issuer is unavailable")

// ErrUnknownKey is wrapped by Verify's error when the token is refused because the issuer
// publishes no key for it.
var ErrUnknownKey = errors.New("unknown key")

// Issuer has the keys of one IssuerRef. Its methods are safe for concurrent use.
type Issuer struct {
	pool    *Pool
	ref     IssuerRef
	fetcher *fetcher
	// keys is nil until they were read once.
	keys      atomic.Pointer[keySet]
	ready     chan struct{} // closed by run when there was a usable one
	attempted chan struct{} // closed by run when the first attempt to read it has ended
	refreshCh chan struct{} // wakes run
	// refetch limits the readings for unknown keys.
	refetch *jwks.Refetch

	use use

	mu          sync.Mutex // guards what follows
	current     *attempt   // under way or asked for; nil when neither
	gone        bool       // run has returned
	lastStart   time.Time
	lastSuccess time.Time
	emptySince  time.Time // since when it serves no usable key; zero: it does
	lastErr     error

	// Used by run only.
	keysURL    string
	discovered time.Time
}

// use is what the pool knows of an issuer. Guarded by Pool.mu.
type use struct {
	owners  map[string]int
	waiting *waiter // for a slot; nil while it does not
	payer   string  // the owner that is charged for charged bytes of its keys
	charged int
	stop    context.CancelFunc // ends run; nil while it does not run
}

func newIssuer(p *Pool, f *fetcher) *Issuer {
	return &Issuer{
		pool:      p,
		ref:       f.ref,
		fetcher:   f,
		ready:     make(chan struct{}),
		attempted: make(chan struct{}),
		refreshCh: make(chan struct{}, 1),
		refetch:   jwks.NewRefetch(),
		use:       use{owners: map[string]int{}},
	}
}

// URL is the issuer URL.
func (i *Issuer) URL() string { return i.ref.URL }

// Ready is closed when a usable key has been read once.
func (i *Issuer) Ready() <-chan struct{} { return i.ready }

// Attempted is closed when the first attempt to read the issuer has ended: it is no longer
// Pending.
func (i *Issuer) Attempted() <-chan struct{} { return i.attempted }

// Generation changes whenever the keys do; 0 means that they were never read.
func (i *Issuer) Generation() uint64 {
	if keys := i.keys.Load(); keys != nil {
		return keys.generation
	}
	return 0
}

// HasKey reports whether there is a key for a compact JWS, so that Verify need not
// wait for a fetch; of one that names no key, whether there are any.
func (i *Issuer) HasKey(raw string) bool {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return true
	}
	keys, id := i.keys.Load(), jws.Signatures[0].Protected.KeyID
	return keys != nil && (id == "" && len(keys.all) > 0 || len(keys.byID[id]) > 0)
}

// Verify checks the signature of a compact JWS and returns its payload. Claims
// are not looked at. The error wraps ErrUnavailable when the token could not be
// judged, and ErrUnknownKey when the issuer has no key for it; it never holds the token.
// Verify may wait for a fetch.
func (i *Issuer) Verify(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, fmt.Errorf("malformed or unsupported token: %s", clip.Clone(err.Error(), 200))
	}
	if payload, err := i.keys.Load().verify(jws); !errors.Is(err, errNoKey) {
		return payload, err
	}
	return i.verifyUnknownKey(ctx, jws)
}

// verifyUnknownKey verifies a token with an unknown key: it has the keys read again, unless they
// were read since the token was issued.
func (i *Issuer) verifyUnknownKey(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	id := jws.Signatures[0].Protected.KeyID
	if i.keys.Load() != nil && i.decided(id, jwks.IssuedAt(jws)) {
		_, _, _ = i.requestRefresh(false) // nobody waits for it
		return nil, i.noKeyFor(id)
	}
	// A second round is needed after joining a reading that had begun before: it may
	// have missed the key.
	for joined, round := true, 0; joined && round < 2; round++ {
		var err error
		if joined, err = i.refresh(ctx); err != nil {
			return nil, err
		}
		if payload, err := i.keys.Load().verify(jws); !errors.Is(err, errNoKey) {
			return payload, err
		}
	}
	return nil, i.noKeyFor(id)
}

// decided reports whether a token whose key is unknown may be refused without another
// reading. issued is when the token was issued; zero: unknown.
func (i *Issuer) decided(id string, issued time.Time) bool {
	i.mu.Lock()
	empty := i.emptyNow()
	i.mu.Unlock()
	return !empty && i.refetch.Decided(id, issued, i.pool.config.Clock.Now())
}

// noKeyFor refuses a token.
func (i *Issuer) noKeyFor(id string) error {
	keys := i.keys.Load()
	switch {
	case keys == nil: // not reached: a reading that brings no keys is an error
		return fmt.Errorf("%w: keys of %s were never read", ErrUnavailable, i.ref.URL)
	case len(keys.all) == 0:
		return fmt.Errorf("%w: %s publishes no usable key", ErrUnknownKey, i.ref.URL)
	case id != "":
		return fmt.Errorf("%w: %s has no key with id %q", ErrUnknownKey, i.ref.URL, clip.Clone(id, 64))
	}
	return fmt.Errorf("no key of %s verifies the signature", i.ref.URL)
}

// unavailable turns a fetch's error into one of Verify's. It returns nil if the issuer has
// had no usable key for some time, since its tokens are then refused. The caller holds mu.
func (i *Issuer) unavailable(err error) error {
	if err == nil || errors.Is(err, errNoUsableKey) && !i.emptyNow() {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, i.ref.URL, err)
}

// emptyNow reports whether the issuer has had no usable key for a short time only, in which
// its tokens are undecided. The caller holds mu.
func (i *Issuer) emptyNow() bool {
	return !i.emptySince.IsZero() && i.pool.config.Clock.Since(i.emptySince) < NoKeyGrace
}

// read fetches the keys. It fetches the discovery document, too, if that is old, or if the
// last attempt failed: the keys may have moved.
func (i *Issuer) read(ctx context.Context, again bool) error {
	release, err := i.pool.slot(ctx, i, i.fetchClass(again))
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, i.pool.config.Timeout)
	defer cancel()
	now := i.pool.config.Clock.Now()
	if again || i.keysURL == "" || now.Sub(i.discovered) >= DiscoveryTTL {
		location, err := i.fetcher.discover(ctx)
		if err != nil {
			return err
		}
		i.keysURL, i.discovered = location, now
	}
	keys, err := i.fetcher.keys(ctx, i.keysURL)
	if err != nil {
		return err
	}
	if !i.pool.keep(i, keys.size) {
		i.withdraw(keys)
		return &stepError{keysStep, &fault{"the key set is too large beside those of the owner's other issuers", fmt.Errorf("%s: the key set takes %d bytes of memory, which are not left to the issuer's owners", i.keysURL, keys.size)}}
	}
	i.publish(keys)
	if len(keys.all) == 0 {
		return fmt.Errorf("%w%s", errNoUsableKey, reasons(keys.ignored))
	}
	return nil
}

// errNoUsableKey is wrapped by the error of a fetch that returned a key set without a
// usable key. The keys of the previous fetch are then no longer in use: withdrawing
// all keys may be a revocation.
var errNoUsableKey = errors.New("it publishes no usable key")

func reasons(ignored []string) string {
	if len(ignored) == 0 {
		return ""
	}
	return ": " + clip.Clone(strings.Join(ignored, "; "), 300)
}

// fetchClass returns the class of i's next fetch.
func (i *Issuer) fetchClass(lastFailed bool) fetchClass {
	switch {
	case lastFailed:
		return afterFailure
	case i.keys.Load() == nil:
		return firstFetch
	}
	return afterSuccess
}

// withdraw takes those keys out of use that the issuer no longer publishes, although there is no room
// for the keys that it does. Their room stays the issuer's, or others could take it, and a set that
// is no larger than before would be refused, too.
func (i *Issuer) withdraw(published *keySet) {
	old := i.keys.Load()
	if old == nil {
		return
	}
	i.publish(old.stillIn(published))
}

// publish puts keys into use.
func (i *Issuer) publish(keys *keySet) {
	old := i.keys.Load()
	switch {
	case old == nil:
		keys.generation = 1
	case old.fingerprint == keys.fingerprint:
		keys.generation = old.generation
	default:
		keys.generation = old.generation + 1
	}
	keys.remember(old, i.pool.config.Clock.Now())
	i.keys.Store(keys)
	if len(keys.all) > 0 {
		closeOnce(i.ready)
	}
}

// closeOnce closes c unless that has been done. One goroutine alone closes c.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// CA returns the PEM bundle of the IssuerRef: one copy for all its users.
func (i *Issuer) CA() string { return i.ref.CA }

// state returns i's health, and why the last attempt failed.
func (i *Issuer) state() (State, error) {
	i.mu.Lock()
	err := i.lastErr
	i.mu.Unlock()
	switch known := i.keys.Load() != nil; {
	case !known && err == nil:
		return Pending, nil
	case !known:
		return Unavailable, err
	case errors.Is(err, errNoUsableKey):
		return NoUsableKey, err
	case err != nil:
		return Failing, err
	}
	return Ready, nil
}
