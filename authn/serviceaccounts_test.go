package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
)

// downHome can't be asked.
type downHome struct{}

func (downHome) ServiceAccount(context.Context, string, string, string, bool) (serviceaccount.Object, error) {
	return serviceaccount.Object{}, errors.New("connection refused")
}

func (downHome) Secret(context.Context, string, string, string, bool) (serviceaccount.Secret, error) {
	return serviceaccount.Secret{}, errors.New("connection refused")
}

func TestServiceAccounts(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := serviceaccount.NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	tokenOf := func(issuer string, expiry time.Time) string {
		payload, err := json.Marshal(map[string]any{
			"iss": issuer, "sub": "system:serviceaccount:default:bot", "aud": issuer, "exp": expiry.Unix(),
			"kubernetes.io": map[string]any{
				"clusterName": "root", "namespace": "default", "serviceaccount": map[string]any{"name": "bot", "uid": "u"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	const issuer = "https://kcp.default.svc"
	for name, tc := range map[string]struct {
		raw     string
		home    serviceaccount.AccountGetter
		want    Outcome
		reasons []serviceaccount.Reason
	}{
		"good":           {raw: tokenOf(issuer, soon), want: Accepted},
		"expired":        {raw: tokenOf(issuer, past), want: Refused, reasons: []serviceaccount.Reason{serviceaccount.Expired}},
		"home is down":   {raw: tokenOf(issuer, soon), home: downHome{}, want: Undecided},
		"another issuer": {raw: tokenOf("https://other.example", soon), want: Skipped},
		"opaque":         {raw: "opaque", want: Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			inner, err := serviceaccount.New(serviceaccount.Config{Issuers: []string{issuer}, Keys: serviceaccount.NewKeySet(key), Home: tc.home})
			if err != nil {
				t.Fatal(err)
			}
			var reasons []serviceaccount.Reason
			a := ServiceAccounts(inner, func(r serviceaccount.Reason) { reasons = append(reasons, r) })
			u, _, err := a.AuthenticateToken(t.Context(), token.Parse(tc.raw))
			got := Accepted
			switch {
			case errors.Is(err, token.ErrUndecided):
				got = Undecided
			case err != nil:
				got = Refused
			case u == nil:
				got = Skipped
			}
			if got != tc.want {
				t.Errorf("outcome %v (%v), want %v", got, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), tc.raw) {
				t.Error("the error holds the token")
			}
			if diff := cmp.Diff(tc.reasons, reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}
