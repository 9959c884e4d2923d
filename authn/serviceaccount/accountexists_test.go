package serviceaccount

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"testing"

	"frontproxy/authn/token"
)

// fakeHome answers from its fields and notes what it was asked.
type fakeHome struct {
	account, recentAccount *Object
	secret                 *Secret
	err                    error
	asked                  []string
}

func (h *fakeHome) ServiceAccount(_ context.Context, cluster, namespace, name string, recent bool) (Object, error) {
	h.asked = append(h.asked, "account "+cluster+" "+namespace+"/"+name)
	account := h.account
	if recent && h.recentAccount != nil {
		account = h.recentAccount
	}
	switch {
	case h.err != nil:
		return Object{}, h.err
	case account == nil:
		return Object{}, ErrNotFound
	}
	return *account, nil
}

func (h *fakeHome) Secret(_ context.Context, cluster, namespace, name string, _ bool) (Secret, error) {
	h.asked = append(h.asked, "secret "+cluster+" "+namespace+"/"+name)
	switch {
	case h.err != nil:
		return Secret{}, h.err
	case h.secret == nil:
		return Secret{}, ErrNotFound
	}
	return *h.secret, nil
}

func TestLookup(t *testing.T) {
	account := &Object{UID: accountUID}
	toSecret := withKube(object{"secret": object{"name": "s", "uid": secretUID}})
	legacyRaw := tokenOf(t, legacy())
	holds := func(raw string) Secret {
		return Secret{Object: Object{UID: secretUID}, TokenHash: sha256.Sum256([]byte(raw))}
	}
	invalidated := holds(legacyRaw)
	invalidated.InvalidSince = "2026-08-01"
	deleted := holds(legacyRaw)
	deleted.Deleted = true
	boundSecret := Secret{Object: Object{UID: secretUID}}
	down := errors.New("connection refused")
	for name, tc := range map[string]struct {
		claims    object
		home      fakeHome
		reason    token.Reason
		undecided bool
	}{
		"account exists":                      {claims: bound(), home: fakeHome{account: account}},
		"account is gone":                     {claims: bound(), reason: token.ReasonAccountGone},
		"account was made anew":               {claims: bound(), home: fakeHome{account: &Object{UID: "another"}}, reason: token.ReasonAccountGone},
		"account is being deleted":            {claims: bound(), home: fakeHome{account: &Object{UID: accountUID, Deleted: true}}, reason: token.ReasonAccountGone},
		"account of this token was just made": {claims: bound(), home: fakeHome{account: &Object{UID: "old"}, recentAccount: account}},
		"home is unknown":                     {claims: bound(), home: fakeHome{err: ErrHomeUnknown}, reason: token.ReasonHomeUnknown},
		"shard is down":                       {claims: bound(), home: fakeHome{err: down}, undecided: true},
		"bound to a secret":                   {claims: toSecret, home: fakeHome{account: account, secret: &boundSecret}},
		"bound secret is gone":                {claims: toSecret, home: fakeHome{account: account}, reason: token.ReasonSecretGone},
		"bound secret was made anew":          {claims: toSecret, home: fakeHome{account: account, secret: &Secret{Object: Object{UID: "x"}}}, reason: token.ReasonSecretGone},
		"bound secret is being deleted":       {claims: toSecret, home: fakeHome{account: account, secret: &Secret{Object: Object{UID: secretUID, Deleted: true}}}, reason: token.ReasonSecretGone},
		"bound secret, account gone":          {claims: toSecret, home: fakeHome{secret: &boundSecret}, reason: token.ReasonAccountGone},
		"bound to a pod":                      {claims: withKube(object{"pod": object{"name": "p", "uid": "u"}}), home: fakeHome{account: account}, reason: token.ReasonBoundObject},
		"bound to an empty pod":               {claims: withKube(object{"pod": object{}}), home: fakeHome{account: account}, reason: token.ReasonBoundObject},
		"bound to a node":                     {claims: withKube(object{"node": object{"name": "n", "uid": "u"}}), home: fakeHome{account: account}, reason: token.ReasonBoundObject},
		"legacy":                              {claims: legacy(), home: fakeHome{account: account, secret: ptr(holds(legacyRaw))}},
		"legacy, secret holds another token":  {claims: legacy(), home: fakeHome{account: account, secret: ptr(holds(legacyRaw + "x"))}, reason: token.ReasonRevoked},
		"legacy, secret holds no token":       {claims: legacy(), home: fakeHome{account: account, secret: &boundSecret}, reason: token.ReasonRevoked},
		"legacy, secret is gone":              {claims: legacy(), home: fakeHome{account: account}, reason: token.ReasonSecretGone},
		"legacy, secret is being deleted":     {claims: legacy(), home: fakeHome{account: account, secret: &deleted}, reason: token.ReasonSecretGone},
		"legacy, marked invalid":              {claims: legacy(), home: fakeHome{account: account, secret: &invalidated}, reason: token.ReasonRevoked},
		"legacy, account is gone":             {claims: legacy(), home: fakeHome{secret: ptr(holds(legacyRaw))}, reason: token.ReasonAccountGone},
		"legacy, account was made anew":       {claims: legacy(), home: fakeHome{account: &Object{UID: "x"}, secret: ptr(holds(legacyRaw))}, reason: token.ReasonAccountGone},
		"legacy, shard is down":               {claims: legacy(), home: fakeHome{err: down}, undecided: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTest(t, func(c *Config) { c.Accounts = &tc.home })
			raw := tokenOf(t, tc.claims)
			u, _, err := authenticate(t.Context(), a, raw)
			switch {
			case tc.undecided:
				if !errors.Is(err, ErrUndecided) {
					t.Fatalf("error %v, want undecided", err)
				}
				assertNoToken(t, raw, err)
			case tc.reason != "":
				assertRefused(t, raw, err, tc.reason)
			case err != nil:
				t.Fatal(err)
			}
			if err != nil && u != nil {
				t.Error("an identity with an error")
			}
			for _, asked := range tc.home.asked {
				if asked != "account "+testHome+" default/bot" && asked != "secret "+testHome+" default/s" && asked != "secret "+testHome+" default/bot-token" {
					t.Errorf("asked for %s", asked)
				}
			}
		})
	}
}

// A remembered signature must not outlive the account.
func TestLookupIsMadeForRememberedTokens(t *testing.T) {
	home := &fakeHome{account: &Object{UID: accountUID}}
	a := newTest(t, func(c *Config) { c.Accounts = home })
	raw := tokenOf(t, bound())
	if _, _, err := authenticate(t.Context(), a, raw); err != nil {
		t.Fatal(err)
	}
	home.account = nil
	_, _, err := authenticate(t.Context(), a, raw)
	assertRefused(t, raw, err, token.ReasonAccountGone)
}

// Nobody makes the proxy ask shards without a key of theirs.
func TestForgedTokensAreNotLookedUp(t *testing.T) {
	home := &fakeHome{account: &Object{UID: accountUID}}
	a := newTest(t, func(c *Config) {
		c.Accounts = home
		c.Keys = NewKeySet(testKey(crypto.Signer(otherRSA())))
	})
	if _, _, err := authenticate(t.Context(), a, tokenOf(t, bound())); err == nil {
		t.Fatal("a forged token was let in")
	}
	if len(home.asked) > 0 {
		t.Errorf("asked for %q", home.asked)
	}
}

func ptr[T any](v T) *T { return &v }
