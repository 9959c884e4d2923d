package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/clip"
	"frontproxy/internal/jwks"
)

// Placement knows where logical clusters are and were; *index.Index does.
type Placement interface {
	Shards
	// PreviousShards returns the shards that held the cluster before, by name.
	PreviousShards(cluster string) []string
}

// ShardKeyVerifier verifies tokens with the keys that shards publish. A shard's keys are
// trusted for the accounts whose home cluster it holds, and for no others. After a
// migration, the keys of a previous holder are trusted, too, but only while the account is
// found at its new home.
type ShardKeyVerifier struct {
	// Keys and Placement are required.
	Keys      *ShardKeys
	Placement Placement
	// Accounts confirms that accounts which have moved exist; nil: a previous holder's
	// keys are not trusted.
	Accounts AccountGetter
}

// keyProvenance says why a key is trusted for an account. The zero value is for the
// operator's keys, which are trusted for every account.
type keyProvenance struct {
	holder string // the shard that held the home cluster
	moved  bool   // the key is a previous holder's
}

// stillTrusts reports whether a key with this provenance is still trusted for the home
// cluster.
func (f *ShardKeyVerifier) stillTrusts(v keyProvenance, home string) bool {
	if v.holder == "" {
		return true
	}
	holder, err := f.Placement.Holder(home)
	return err == nil && holder.Name == v.holder
}

// verifyWithHomeKeys verifies a token with the keys that are trusted for the home cluster that
// it names. That name is not verified yet: it only selects keys, none of which is trusted for
// another cluster.
func (f *ShardKeyVerifier) verifyWithHomeKeys(ctx context.Context, jws *jose.JSONWebSignature, issuers []string) ([]byte, keyProvenance, error) {
	home, err := unverifiedHome(jws.UnsafePayloadWithoutVerification(), issuers)
	if err != nil {
		return nil, keyProvenance{}, err
	}
	holder, err := f.Placement.Holder(home)
	switch {
	case errors.Is(err, index.ErrUnknown):
		return nil, keyProvenance{}, token.Refuse(token.ReasonHomeUnknown, "no shard has the token's logical cluster %s", home)
	case err != nil:
		return nil, keyProvenance{}, fmt.Errorf("%w: find logical cluster %s: %w", ErrUndecided, home, err)
	}
	id := jws.Signatures[0].Protected.KeyID
	keys := f.Keys.of(holder.Name, id)
	if payload := tryKeys(jws, keys); payload != nil {
		return payload, keyProvenance{holder: holder.Name}, nil
	}
	if f.Accounts != nil {
		for _, shard := range f.Placement.PreviousShards(home) {
			previous := f.Keys.of(shard, id)
			if payload := tryKeys(jws, previous); payload != nil {
				return payload, keyProvenance{holder: holder.Name, moved: true}, nil
			}
		}
	}
	// The shard has a key with this id. No other key gets the same id, since Kubernetes'
	// ids are hashes of the keys: so the shard is not asked.
	if id != "" && len(keys) > 0 {
		return nil, keyProvenance{}, token.Refuse(token.ReasonSignature, "key %q of shard %s does not verify the signature", clip.Clone(id, maxQuoted), holder.Name)
	}
	return f.refreshAndVerify(ctx, jws, holder)
}

// refreshAndVerify verifies a token with an unknown key: it has the shard's keys read again,
// unless they were read since the token was issued.
func (f *ShardKeyVerifier) refreshAndVerify(ctx context.Context, jws *jose.JSONWebSignature, holder *shards.Shard) ([]byte, keyProvenance, error) {
	id := jws.Signatures[0].Protected.KeyID
	if f.Keys.decided(holder, id, jwks.IssuedAt(jws)) {
		_, _, _ = f.Keys.requestRefresh(ctx, holder, false) // nobody waits for it
		return nil, keyProvenance{}, noKeyOf(holder, id)
	}
	// A second round is needed after joining a reading that had begun before: it may
	// have missed the key.
	for joined, round := true, 0; joined && round < 2; round++ {
		var err error
		if joined, err = f.Keys.refresh(ctx, holder); err != nil {
			return nil, keyProvenance{}, fmt.Errorf("%w: service account keys of shard %s: %w", ErrUndecided, holder.Name, err)
		}
		if payload := tryKeys(jws, f.Keys.of(holder.Name, id)); payload != nil {
			return payload, keyProvenance{holder: holder.Name}, nil
		}
	}
	return nil, keyProvenance{}, noKeyOf(holder, id)
}

// noKeyOf refuses a token that no key of its home's holder verifies.
func noKeyOf(holder *shards.Shard, id string) error {
	if id == "" {
		return token.Refuse(token.ReasonSignature, "no key of shard %s, which holds the token's logical cluster, verifies the signature", holder.Name)
	}
	return token.Refuse(token.ReasonUnknownKey, "shard %s, which holds the token's logical cluster, publishes no key with the id %q", holder.Name, clip.Clone(id, maxQuoted))
}

// tryKeys returns the payload if one of the keys verifies it, else nil.
func tryKeys(jws *jose.JSONWebSignature, keys []Key) []byte {
	for _, key := range keys {
		if key.algorithm() != jws.Signatures[0].Protected.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Public); err == nil {
			return payload
		}
	}
	return nil
}

// unverifiedHome reads the home cluster, as checkClaims does after verification.
func unverifiedHome(payload []byte, issuers []string) (string, error) {
	var public struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &public); err != nil {
		return "", token.Refuse(token.ReasonMalformed, "the token's registered claims can't be read: %s", clip.Clone(err.Error(), maxQuoted))
	}
	a, err := readAccount(payload, public.Issuer == LegacyIssuer, slices.Contains(issuers, LegacyIssuer))
	if err != nil {
		return "", err
	}
	if !validCluster(a.home) {
		return "", token.Refuse(token.ReasonClaims, "the token's home logical cluster %q is missing or malformed", clip.Clone(a.home, maxQuoted))
	}
	return a.home, nil
}
