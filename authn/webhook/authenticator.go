package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/clientaddr"
	"frontproxy/internal/clip"
	"frontproxy/internal/fairqueue"
	"frontproxy/internal/kubeconfig"
)

const (
	// configFlag names the file in errors.
	configFlag = "--authentication-token-webhook-config-file"

	// questionTimeout bounds one question to the webhook, retries included.
	questionTimeout = 30 * time.Second
	// maxCalls is how many questions are under way at once; others wait.
	maxCalls = 64
	// maxQuestions is how many are under way or wait.
	maxQuestions = 256
	// maxWaiters is how many requests wait for their answers, most of them for
	// the answer to a question that another request asked.
	maxWaiters = 4096
	// maxToken is how many bytes of token it is asked about at most. kube asks
	// about tokens of any size, that is up to its 1 MiB of headers.
	maxToken = 64 << 10
	// acceptedBytes and refusedBytes bound what is kept of answers that say yes,
	// and of those that say no, in bytes: some 30,000 each.
	acceptedBytes, refusedBytes = 32 << 20, 16 << 20
	// errorLife is how long an answer is kept that says the webhook could
	// not check the token, or that is a 401 or 403: refusals as in kube.
	errorLife = 5 * time.Second
	// freshFor is how old an answer may be by which a stream goes on, whatever
	// the TTL.
	freshFor = 10 * time.Second
)

// Config of an Authenticator.
type Config struct {
	// ConfigFile is --authentication-token-webhook-config-file, a kubeconfig
	// whose server is the webhook's whole URL; required.
	ConfigFile string
	// Version of the TokenReviews that are sent: v1beta1 (the default) or v1.
	Version string
	// TTL is how long answers count, "yes" as well as "no", as in kube; 0 or less
	// keeps none. The default of the flag is 2 minutes.
	TTL time.Duration
	// Audiences are put into the question; an answer that names audiences must
	// have one of them. Empty: none are asked for, and any is good. kcp sends
	// them only where service account keys are configured.
	Audiences []string
	// Clock is the time; nil means the real one.
	Clock clock.PassiveClock
	// Log gets changes of the kubeconfig and of the webhook's state; the zero value
	// logs nothing.
	Log klog.Logger
}

// Authenticator asks another server about tokens (TokenReview).
//
// It is the last authenticator and gets every token nobody else knew, so what
// strangers send must not become a storm: "no" is kept as long as "yes", as in
// kube, in a cache of its own, so that garbage does not push out good tokens;
// the same token is asked for once at a time; a bounded number of questions is
// under way or waits at all, and of requests that wait for them. Beyond that
// tokens are undecided. Too long ones are refused unasked. kube bounds neither
// its caches, nor the questions, nor the tokens.
//
// It is not apiserver's webhook authenticator: that one does not tell "no" from
// "can't be asked", and its client logs tokens at -v=8.
type Authenticator struct {
	kubeconfig *kubeconfig.DynamicConfig
	reviewer   reviewer
	ttl        time.Duration
	audiences  []string
	clock      clock.PassiveClock
	digester   *token.Digester
	accepted   *bytecache.Cache[token.Digest, answer]
	refused    *bytecache.Cache[token.Digest, answer]
	questions  *fairqueue.Queue[token.Digest, answer]
	background sync.Map // a set of token.Digest: the questions that a goroutine of their own asks
	health     *health
}

// answer is user or refusal. Immutable.
type answer struct {
	user    user.Info
	refusal error
	// audiences are those asked for that the webhook says the token is for; none: it says
	// nothing about audiences.
	audiences []string
	// unchecked: refused because the webhook could not check the token.
	unchecked bool
	// unauthorized is when the webhook was asked the first question about the token that
	// it answered with 401 or 403, if it has answered so ever since; zero: it has not.
	unauthorized time.Time
	asked, until time.Time
}

// New reads the kubeconfig and the files it names, which are followed
// while the Run of Kubeconfig runs; the webhook is not asked.
func New(c Config) (*Authenticator, error) {
	c.Version = cmp.Or(c.Version, "v1beta1")
	if c.Version != "v1" && c.Version != "v1beta1" {
		return nil, fmt.Errorf("--authentication-token-webhook-version: %q is neither v1 nor v1beta1", c.Version)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	followed, err := kubeconfig.NewDynamicConfig(strings.TrimPrefix(configFlag, "--"), []string{c.ConfigFile}, func() (*rest.Config, error) { return loadConfig(c.ConfigFile) }, nil, c.Log)
	if err != nil {
		return nil, err
	}
	w := &Authenticator{kubeconfig: followed, ttl: c.TTL, audiences: c.Audiences, clock: c.Clock, digester: token.NewDigester(), health: newHealth(c.Log)}
	if w.reviewer, err = newReviewer(followed.Config(), c.Version); err != nil {
		return nil, fmt.Errorf("%s %q: %w", configFlag, c.ConfigFile, err)
	}
	w.questions = fairqueue.New[token.Digest, answer](fairqueue.Limits{Running: maxCalls, Calls: maxQuestions, Waiters: maxWaiters, Timeout: questionTimeout})
	w.accepted = bytecache.New[token.Digest, answer](acceptedBytes, nil)
	w.refused = bytecache.New[token.Digest, answer](refusedBytes, nil)
	return w, nil
}

// loadConfig reads a kubeconfig. Unlike client-go's usual way it takes an
// empty one for an error, not for the cluster that the process runs in.
func loadConfig(file string) (*rest.Config, error) {
	if file == "" {
		return nil, fmt.Errorf("%s: no file", configFlag)
	}
	loaded, err := (&clientcmd.ClientConfigLoadingRules{ExplicitPath: file}).Load()
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", configFlag, file, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", configFlag, file, kubeconfig.LoadError(file, err))
	}
	return config, nil
}

// Kubeconfig is what the webhook is reached with; its Run follows the files.
func (w *Authenticator) Kubeconfig() *kubeconfig.DynamicConfig { return w.kubeconfig }

// Name implements token.Authenticator.
func (w *Authenticator) Name() string { return "webhook" }

// AuthenticateToken implements token.Authenticator. Every token is of its kind: it
// answers yes, no, or ErrUndecided. It does not know when a token ends.
//
// For a Recheck it asks again, so that streams end within seconds of a "no", but not while
// many questions are under way, because new requests come first. A webhook that could not
// check the token ends no stream.
func (w *Authenticator) AuthenticateToken(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	a, err := w.answerFor(ctx, t, w.audiences)
	return a.user, time.Time{}, err
}

// AuthenticateFor implements token.AudienceAuthenticator: the webhook is asked for these
// audiences, unless it was just before.
func (w *Authenticator) AuthenticateFor(ctx context.Context, t token.Token, audiences []string) (user.Info, []string, error) {
	a, err := w.answerFor(ctx, t, audiences)
	return a.user, a.audiences, err
}

// answerFor returns the answer about a token for the audiences, if it accepts. The error says
// that it does not, or wraps token.ErrUndecided.
func (w *Authenticator) answerFor(ctx context.Context, t token.Token, audiences []string) (answer, error) {
	if len(t.Raw) > maxToken {
		return answer{}, fmt.Errorf("token has %d bytes; the webhook is asked only about tokens of at most %d", len(t.Raw), maxToken)
	}
	key := w.key(t.Raw, audiences)
	again := t.Purpose == token.ForRecheck
	var since time.Time
	if again && !w.halfBusy() {
		since = w.clock.Now().Add(-freshFor)
	}
	a, known := w.known(key, since)
	if !known {
		var err error
		if a, err = w.askOnce(ctx, key, t, audiences, since); err != nil {
			return answer{}, fmt.Errorf("%w: webhook: %s", token.ErrUndecided, withoutToken(err, t.Raw))
		}
	}
	if again && a.unchecked && !w.meansToken(a) {
		return answer{}, fmt.Errorf("%w: %w", token.ErrUndecided, a.refusal)
	}
	return a, a.refusal
}

// key identifies a question. No token has a NUL: HTTP has none, and reviews take none.
func (w *Authenticator) key(raw string, audiences []string) token.Digest {
	if slices.Equal(audiences, w.audiences) {
		return w.digester.Digest(raw)
	}
	return w.digester.Digest(fmt.Sprintf("%s\x00%q", raw, audiences))
}

// meansToken says that a 401 or 403 was about the token and not about the proxy's
// credential: meanwhile the webhook has answered another question.
func (w *Authenticator) meansToken(a answer) bool {
	return !a.unauthorized.IsZero() && w.health.answeredAfter(a.unauthorized)
}

// known returns an answer that still counts and was not asked for before since.
func (w *Authenticator) known(key token.Digest, since time.Time) (answer, bool) {
	now := w.clock.Now()
	for _, answers := range []*bytecache.Cache[token.Digest, answer]{w.accepted, w.refused} {
		a, ok := answers.Get(key)
		switch {
		case !ok:
		case !now.Before(a.until):
			if a.unauthorized.IsZero() { // else the next answer needs to know
				answers.Remove(key)
			}
		case !a.asked.Before(since):
			return a, true
		}
	}
	return answer{}, false
}

// halfBusy says that half of the calls that may wait or run are taken.
func (w *Authenticator) halfBusy() bool {
	questions, _ := w.questions.Len()
	return questions >= maxQuestions/2
}

// askOnce asks the webhook, or waits for a call about the same token that is in
// progress. A client that sends made-up tokens must not delay the first logins of
// others: the calls are shared among client addresses and logical clusters.
//
// If ctx has already ended, because the request must not wait (authn.Request.NoWait), askOnce returns
// its error, and asks the webhook in the background, so that the next request finds the answer.
func (w *Authenticator) askOnce(ctx context.Context, key token.Digest, t token.Token, audiences []string, since time.Time) (answer, error) {
	if ctx.Err() == nil {
		return w.askInTurn(ctx, key, t, audiences, since)
	}
	if _, asked := w.background.LoadOrStore(key, true); !asked { // one is enough: each keeps a token
		t.Raw, audiences = strings.Clone(t.Raw), slices.Clone(audiences) // of a header that may be a megabyte
		go func() {
			defer w.background.Delete(key)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionTimeout)
			defer cancel()
			_, _ = w.askInTurn(ctx, key, t, audiences, since) // remembered
		}()
	}
	return answer{}, ctx.Err()
}

// askInTurn asks the webhook when the question's turn comes, as askOnce says.
func (w *Authenticator) askInTurn(ctx context.Context, key token.Digest, t token.Token, audiences []string, since time.Time) (answer, error) {
	return w.questions.Do(ctx, key, askerNames(t.Client, t.Cluster), func() func(context.Context) (answer, error) {
		t := t
		t.Raw, audiences = strings.Clone(t.Raw), slices.Clone(audiences) // of a header that may be a megabyte
		return func(ctx context.Context) (answer, error) {
			if a, known := w.known(key, since); known { // the one before may have ended while the caller looked
				return a, nil
			}
			return w.ask(ctx, key, t, audiences)
		}
	})
}

// askerNames are the names under which a caller shares the webhook: its address, as
// in http.Request.RemoteAddr, and the logical cluster.
// Without an address and cluster there are no names.
func askerNames(address, cluster string) []string {
	if address == "" && cluster == "" {
		return nil
	}
	if network, ok := clientaddr.Of(address); ok {
		address = network.String()
	}
	return []string{address, cluster}
}

func (w *Authenticator) ask(ctx context.Context, key token.Digest, t token.Token, audiences []string) (answer, error) {
	asked := w.clock.Now()
	status, err := w.reviewer.review(ctx, t.Raw, audiences)
	var a answer
	switch {
	case errors.Is(err, errUnauthorized):
		w.health.note(Unauthorized, asked, err)
		a = answer{unchecked: true, refusal: err, unauthorized: asked}
		if before, ok := w.refused.Get(key); ok && !before.unauthorized.IsZero() {
			a.unauthorized = before.unauthorized
		}
	case err != nil:
		w.health.note(Failed, asked, errors.New(withoutToken(err, t.Raw)))
		return answer{}, err
	default:
		if a = judge(status, t, audiences); a.refusal == nil {
			w.health.note(Accepted, asked, nil)
		} else {
			w.health.note(Refused, asked, nil)
		}
	}
	a.asked, a.until = asked, asked.Add(w.ttl)
	switch {
	case a.refusal == nil:
		a.until = notBeyond(a.until, t)
		w.accepted.Add(key, a, identity.KeptBytes(a.user)+textBytes(a.audiences))
		w.refused.Remove(key)
	case a.unchecked:
		a.until = asked.Add(min(w.ttl, errorLife))
		w.refused.Add(key, a, len(a.refusal.Error()))
	default:
		w.refused.Add(key, a, len(a.refusal.Error()))
		w.accepted.Remove(key) // it was asked again before that one ended
	}
	return a, nil
}

// judge makes an answer of the status that the webhook returned for a token and the audiences.
func judge(s *authenticationv1.TokenReviewStatus, t token.Token, audiences []string) answer {
	found := token.Audiences(audiences, s.Audiences)
	switch {
	case !s.Authenticated && s.Error != "":
		return answer{unchecked: true, refusal: fmt.Errorf("the webhook refused the token: %s", withoutToken(errors.New(s.Error), t.Raw))}
	case !s.Authenticated:
		return answer{refusal: errors.New("the webhook refused the token")}
	case len(audiences) > 0 && len(s.Audiences) > 0 && len(found) == 0:
		return answer{refusal: fmt.Errorf("audience: the webhook accepted the token for %s, not for any of %s", clip.Quoted(s.Audiences), clip.Quoted(audiences))}
	case s.User.Username == "":
		return answer{refusal: errors.New("the webhook accepted the token without a user name")}
	}
	u, err := identity.Normalize(identity.FromUserInfo(&s.User), identity.OperatorsLimits)
	if err != nil {
		return answer{refusal: fmt.Errorf("the webhook accepted the token, but %w", err)}
	}
	return answer{user: u, audiences: found}
}

// notBeyond ends an answer no later than a JWT's own expiry. That is not verified, but it can
// only make the answer's life shorter.
func notBeyond(until time.Time, t token.Token) time.Time {
	if !t.JWT {
		return until
	}
	claims, err := token.ReadClaims(t.Raw)
	if err == nil && !claims.Expiry.IsZero() && claims.Expiry.Before(until) {
		return claims.Expiry
	}
	return until
}

// withoutToken is an error's text, in which the other side may have echoed the
// token.
func withoutToken(err error, raw string) string {
	return clip.Clone(strings.ReplaceAll(err.Error(), raw, "(token)"), 500)
}

// reviewer asks for one token.
type reviewer interface {
	// review returns the webhook's answer; an error means that there is none.
	// That it refused by HTTP status wraps errUnauthorized.
	review(ctx context.Context, raw string, audiences []string) (*authenticationv1.TokenReviewStatus, error)
}

func newReviewer(config *rest.Config, version string) (*httpReviewer, error) {
	// client-go's transport, to the operator's webhook: a question has questionTimeout, and its answer maxReview.
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	// A redirect would carry the token to a server that nobody configured.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	location, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return &httpReviewer{client: client, url: location.String(), version: version, decoder: newReviewDecoder(), pause: retryPause}, nil
}

// textBytes is about the memory that a list of texts takes.
func textBytes(list []string) (n int) {
	for _, s := range list {
		n += 16 + len(s)
	}
	return n
}
