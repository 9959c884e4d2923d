package serviceaccount

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"frontproxy/authn/token"
	"frontproxy/internal/clip"
)

// Errors of an AccountGetter. Any other error means that the shard could not be asked.
var (
	// ErrNotFound: the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrHomeUnknown: no shard has the logical cluster.
	ErrHomeUnknown = errors.New("no shard has the logical cluster")
)

// AccountGetter asks the shard that holds a logical cluster. Answers may be a few seconds
// old; with recent, about one.
type AccountGetter interface {
	// ServiceAccount returns what is known of an account.
	ServiceAccount(ctx context.Context, cluster, namespace, name string, recent bool) (Object, error)
	// Secret returns what is known of a Secret.
	Secret(ctx context.Context, cluster, namespace, name string, recent bool) (Secret, error)
}

// Object is what matters of an object that a token depends on.
type Object struct {
	UID string
	// Deleted: it only waits for its finalizers.
	Deleted bool
}

// Secret is an Object with what matters of a legacy token's Secret.
type Secret struct {
	Object
	// TokenHash is the SHA-256 of data.token; zero when there is none.
	TokenHash [sha256.Size]byte
	// InvalidSince is the label kubernetes.io/legacy-token-invalid-since.
	InvalidSince string
}

// checkObjects asks whether the objects that a verified token depends on still exist. After a
// "no" from the cache it asks again: they may have been created since.
func checkObjects(ctx context.Context, accounts AccountGetter, a *account, raw string) error {
	err := checkObjectsOnce(ctx, accounts, a, raw, false)
	if refusal := (*token.RefusalError)(nil); errors.As(err, &refusal) && refusal.Reason != token.ReasonBoundObject {
		return checkObjectsOnce(ctx, accounts, a, raw, true)
	}
	return err
}

func checkObjectsOnce(ctx context.Context, accounts AccountGetter, a *account, raw string, recent bool) error {
	if a.pod != nil {
		return token.Refuse(token.ReasonBoundObject, "the token is bound to a pod, which can't be looked up in kcp")
	}
	if a.node != nil {
		return token.Refuse(token.ReasonBoundObject, "the token is bound to a node, which can't be looked up in kcp")
	}
	if a.secret != nil {
		secret, err := accounts.Secret(ctx, a.home, a.namespace, a.secret.Name, recent)
		if err != nil {
			return failed(err, token.ReasonSecretGone, a, "secret "+a.namespace+"/"+a.secret.Name)
		}
		if err := checkSecret(secret, a, raw); err != nil {
			return err
		}
	}
	account, err := accounts.ServiceAccount(ctx, a.home, a.namespace, a.name, recent)
	switch {
	case err != nil:
		return failed(err, token.ReasonAccountGone, a, a.where())
	case account.Deleted:
		return token.Refuse(token.ReasonAccountGone, "%s is being deleted", a.where())
	case account.UID != a.uid:
		return token.Refuse(token.ReasonAccountGone, "%s was recreated: its uid is %s, the token's is %s", a.where(), account.UID, clip.Clone(a.uid, maxQuoted))
	}
	return nil
}

func checkSecret(s Secret, a *account, raw string) error {
	name := a.namespace + "/" + a.secret.Name
	switch {
	case s.Deleted:
		return token.Refuse(token.ReasonSecretGone, "secret %s of %s is being deleted", name, a.where())
	case !a.legacy && s.UID != a.secret.UID:
		return token.Refuse(token.ReasonSecretGone, "secret %s of %s was recreated: its uid is %s, the token's is %s", name, a.where(), s.UID, clip.Clone(a.secret.UID, maxQuoted))
	case !a.legacy:
		return nil
	}
	// Both are hashes, and are compared in constant time.
	hash := sha256.Sum256([]byte(raw))
	if subtle.ConstantTimeCompare(hash[:], s.TokenHash[:]) != 1 {
		return token.Refuse(token.ReasonRevoked, "secret %s of %s holds another token", name, a.where())
	}
	if s.InvalidSince != "" {
		return token.Refuse(token.ReasonRevoked, "secret %s of %s has the label %s=%s; remove it to accept the token again", name, a.where(), invalidSinceLabel, clip.Clone(s.InvalidSince, maxQuoted))
	}
	return nil
}

// failed returns a refusal if the object is gone, else that it is undecided.
func failed(err error, gone token.Reason, a *account, what string) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return token.Refuse(gone, "%s does not exist in logical cluster %s", what, a.home)
	case errors.Is(err, ErrHomeUnknown):
		return token.Refuse(token.ReasonHomeUnknown, "no shard has the token's logical cluster %s", a.home)
	}
	return fmt.Errorf("%w: %s: %w", ErrUndecided, what, err)
}
