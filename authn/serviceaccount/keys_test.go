package serviceaccount

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/internal/filewatch"
)

func TestParseKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaID, p256ID, p384ID, p521ID := testKey(rsaKey()).ID, testKey(p256()).ID, testKey(p384()).ID, testKey(p521()).ID
	pkcs8 := func(key any) []byte { return pemBlock("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }
	for name, tc := range map[string]struct {
		text    []byte
		want    []string
		wantErr string
	}{
		"public key":                  {text: publicPEM(rsaKey()), want: []string{rsaID}},
		"PKCS #1 public key":          {text: pemBlock("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)), want: []string{rsaID}},
		"certificate":                 {text: certificatePEM(rsaKey()), want: []string{rsaID}},
		"PKCS #1 private key":         {text: pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), want: []string{rsaID}},
		"PKCS #8 private key":         {text: pkcs8(rsaKey()), want: []string{rsaID}},
		"EC public key":               {text: publicPEM(p256()), want: []string{p256ID}},
		"EC certificate":              {text: certificatePEM(p384()), want: []string{p384ID}},
		"SEC 1 private key":           {text: pemBlock("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p521()))), want: []string{p521ID}},
		"PKCS #8 EC private key":      {text: pkcs8(p256()), want: []string{p256ID}},
		"several, with EC parameters": {text: bytes.Join([][]byte{pemBlock("EC PARAMETERS", []byte{6, 1, 1}), publicPEM(p256()), []byte("text\n"), certificatePEM(rsaKey())}, nil), want: []string{p256ID, rsaID}},
		"one of a kind not taken":     {text: append(pkcs8(ed), publicPEM(rsaKey())...), want: []string{rsaID}},
		"only kinds not taken":        {text: pkcs8(ed), wantErr: "use RSA, or EC"},
		"curve not taken":             {text: publicPEM(p224()), wantErr: "use RSA, or EC"},
		"no PEM":                      {text: []byte("ssh-rsa AAAA"), wantErr: "no PEM block"},
		"empty":                       {wantErr: "no PEM block"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseKeys(tc.text)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range keys {
				got = append(got, k.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("key ids (-want +got):\n%s", diff)
			}
		})
	}
}

// The id of a key that everybody can compute: SHA-256 of the DER, base64url.
func TestKeyID(t *testing.T) {
	const der = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9U1odGTyYLp/IRkyD6n87Z5LenG7ybTv08qSavwMCL7w6Gg1BYQ9D1NNXhrFcld2dt6XCEyvO12qTP9Y1AE1sA=="
	public, err := x509.ParsePKIXPublicKey(must(base64.StdEncoding.DecodeString(der)))
	if err != nil {
		t.Fatal(err)
	}
	// openssl dgst -sha256 -binary key.der | basenc --base64url, without padding.
	if got, want := must(NewKey(public)).ID, "Rv7UuFciD67t_bHuYANGG6a51UNokr7hnk76h375xRM"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
}

func TestKeyFiles(t *testing.T) {
	dir, clk := t.TempDir(), clocktesting.NewFakeClock(time.Now())
	one, two := filepath.Join(dir, "one.pem"), filepath.Join(dir, "two.crt")
	write := func(file string, text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(one, publicPEM(rsaKey()))
	write(two, certificatePEM(p256()))
	keys, err := NewKeyFiles([]string{one, two}, clk, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	reload := func() error {
		keys.Check(t.Context())
		clk.Step(filewatch.Settle)
		keys.Check(t.Context())
		return keys.LastError()
	}
	count := func(want int, generation uint64) {
		t.Helper()
		if got := len(keys.Keys("")); got != want {
			t.Errorf("%d keys, want %d", got, want)
		}
		if got := keys.Generation(); got != generation {
			t.Errorf("generation %d, want %d", got, generation)
		}
	}
	count(2, 1)
	if got := keys.Keys(testKey(p256()).ID); len(got) != 1 {
		t.Errorf("%d keys of the id, want 1", len(got))
	}

	if err := reload(); err != nil {
		t.Fatal(err)
	}
	count(2, 1) // unchanged

	write(two, []byte("half a fi"))
	if err := reload(); err == nil || !strings.Contains(err.Error(), "--service-account-key-file") || !strings.Contains(err.Error(), two) {
		t.Errorf("error %v, want one that names flag and file", err)
	}
	if keys.LastError() == nil {
		t.Error("the error is not remembered")
	}
	count(2, 1) // the last good
	write(two, nil)
	if err := reload(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an emptied file: %v", err)
	}
	count(2, 1)

	write(two, append(publicPEM(p384()), publicPEM(p521())...))
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	if keys.LastError() != nil {
		t.Error("the error outlives its cause")
	}
	count(3, 2)
	if len(keys.Keys(testKey(p256()).ID)) != 0 {
		t.Error("a removed key is still there")
	}
}

func TestKeyFilesErrors(t *testing.T) {
	if _, err := NewKeyFiles(nil, nil, klog.Logger{}); err == nil {
		t.Error("no file is no error")
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := NewKeyFiles([]string{missing}, nil, klog.Logger{}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestKeyFilesRunFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sa.pub")
	if err := os.WriteFile(file, publicPEM(rsaKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := NewKeyFiles([]string{file}, nil, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = keys.Run(ctx)
	}()
	if err := os.WriteFile(file, publicPEM(p256()), 0o600); err != nil {
		t.Fatal(err)
	}
	for tick := time.NewTicker(5 * time.Millisecond); len(keys.Keys(testKey(p256()).ID)) == 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the new key was never read")
		}
	}
	cancel()
	<-done
}
