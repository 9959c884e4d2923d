package authntest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// AsKube returns what is wanted of us where kube does kubes: the same, unless why says
// why not; then ours, and it is an error of the test's table if kube does that too.
func AsKube[T comparable](t testing.TB, kubes, ours T, why string) T {
	t.Helper()
	if why == "" {
		return kubes
	}
	if kubes == ours {
		t.Errorf("no difference to kube any more (%v), and the table says one: %s", kubes, why)
	}
	return ours
}

// KubeVerifies returns what kube says of a token by a key set: it reads them with
// go-oidc.
func KubeVerifies(t testing.TB, set []byte, token string) error {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	defer s.Close()
	_, err := oidc.NewRemoteKeySet(context.Background(), s.URL).VerifySignature(context.Background(), token)
	return err
}

// KeySet is a key set with the public half of a key behind other entries, which are
// JSON; so is edit, whose members take the place of the key's.
func KeySet(t testing.TB, key jose.JSONWebKey, edit, others string) []byte {
	t.Helper()
	public := key.Public()
	text, err := json.Marshal(&public)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	for _, text := range [][]byte{text, []byte(cmp.Or(edit, "{}"))} {
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
	}
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	if others != "" {
		others += ","
	}
	return []byte(`{"keys":[` + others + string(text) + `]}`)
}

// Answer writes a response; a code of 0 means 200, no media type JSON, and "-" none.
func Answer(w http.ResponseWriter, code int, media, text string) {
	w.Header().Set("Content-Type", cmp.Or(media, "application/json"))
	if media == "-" {
		w.Header()["Content-Type"] = nil
	}
	w.WriteHeader(cmp.Or(code, http.StatusOK))
	_, _ = w.Write([]byte(text))
}
