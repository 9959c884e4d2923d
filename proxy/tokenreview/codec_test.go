package tokenreview

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const secret = "token-0123456789"

func newCodec(t testing.TB) Codec {
	t.Helper()
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(contentType, accept, query string) *http.Request {
	r := &http.Request{Method: http.MethodPost, Header: http.Header{}, URL: &url.URL{RawQuery: query}}
	for key, value := range map[string]string{"Content-Type": contentType, "Accept": accept} {
		if value != "" {
			r.Header.Set(key, value)
		}
	}
	return r
}

// protobuf is what Kubernetes' clients make of a review.
func protobuf(t testing.TB, review *authenticationv1.TokenReview) []byte {
	t.Helper()
	c := newCodec(t)
	info, _ := runtime.SerializerInfoForMediaType(c.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	body, err := runtime.Encode(c.EncoderForVersion(info.Serializer, authenticationv1.SchemeGroupVersion), review)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestRead(t *testing.T) {
	const typed = `"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1"`
	for name, tt := range map[string]struct {
		query, body string
		want        string // the token; empty: 400
	}{
		"whole":                        {"", `{` + typed + `,"spec":{"token":"` + secret + `"}}`, secret},
		"without a type":               {"", `{"spec":{"token":"` + secret + `"}}`, secret},
		"without a version":            {"", `{"kind":"TokenReview","spec":{"token":"` + secret + `"}}`, secret},
		"another version":              {"", `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1beta1","spec":{"token":"` + secret + `"}}`, ""},
		"another kind":                 {"", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1","spec":{"token":"` + secret + `"}}`, ""},
		"options":                      {"", `{"kind":"CreateOptions","apiVersion":"authentication.k8s.io/v1"}`, ""},
		"another group":                {"", `{"kind":"Pod","apiVersion":"v1","spec":{"token":"` + secret + `"}}`, ""},
		"no token":                     {"", `{` + typed + `}`, ""},
		"a list for a token":           {"", `{"spec":{"token":["` + secret + `"]}}`, ""},
		"a number for a token":         {"", `{"spec":{"token":123456789}}`, ""},
		"null":                         {"", `null`, ""},
		"a list":                       {"", `[]`, ""},
		"more after it":                {"", `{"spec":{"token":"` + secret + `"}}{}`, ""},
		"cut off":                      {"", `{"spec":{"token":"` + secret, ""},
		"in a namespace":               {"", `{"metadata":{"namespace":"x"},"spec":{"token":"` + secret + `"}}`, ""},
		"fields nobody knows":          {"", `{"spec":{"token":"` + secret + `","x":1}}`, secret},
		"fields nobody knows, strict":  {"fieldValidation=Strict", `{"spec":{"token":"` + secret + `","x":1}}`, ""},
		"a token twice":                {"", `{"spec":{"token":"x","token":"` + secret + `"}}`, secret},
		"a token twice, strict":        {"fieldValidation=Strict", `{"spec":{"token":"x","token":"` + secret + `"}}`, ""},
		"another spelling":             {"", `{"spec":{"Token":"` + secret + `"}}`, ""},
		"strict":                       {"fieldValidation=Strict", `{` + typed + `,"metadata":{"creationTimestamp":null},"spec":{"token":"` + secret + `"},"status":{"user":{}}}`, secret},
		"a status, which is not taken": {"", `{"spec":{"token":"` + secret + `"},"status":{"authenticated":true,"user":{"username":"admin"}}}`, secret},
	} {
		t.Run(name, func(t *testing.T) {
			n, status := newCodec(t).Negotiate(request("application/json", "", tt.query))
			if status != nil {
				t.Fatal(status)
			}
			review, status := n.Read([]byte(tt.body))
			if tt.want == "" {
				if review != nil || status == nil || status.Code != http.StatusBadRequest || strings.Contains(status.Message, secret) || strings.Contains(status.Message, "123456789") {
					t.Errorf("%+v, %+v; want a 400 without the token", review, status)
				}
				return
			}
			if status != nil {
				t.Fatalf("refused: %+v", status)
			}
			if review.Spec.Token != tt.want {
				t.Errorf("token %q", review.Spec.Token)
			}
			if diff := cmp.Diff(authenticationv1.TokenReviewStatus{}, review.Status); diff != "" {
				t.Errorf("status:\n%s", diff)
			}
		})
	}
}

func TestNegotiate(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType, accept, query string
		code                       int32 // 0: none refuses it
		answer                     string
	}{
		"nothing said":      {"", "", "", 0, "application/json"},
		"JSON":              {"application/json", "application/json", "", 0, "application/json"},
		"a charset":         {"application/json;charset=utf-8", "*/*", "", 0, "application/json"},
		"protobuf":          {"application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json", "", 0, "application/vnd.kubernetes.protobuf"},
		"protobuf for JSON": {"application/json", "application/vnd.kubernetes.protobuf", "", 0, "application/vnd.kubernetes.protobuf"},
		"YAML":              {"application/yaml", "", "", 415, ""},
		"CBOR":              {"application/cbor", "", "", 415, ""},
		"no type at all":    {";", "", "", 415, ""},
		"YAML back":         {"", "application/yaml", "", 406, ""},
		"a table":           {"", "application/json;as=Table;v=v1;g=meta.k8s.io", "", 406, ""},
		"a table or not":    {"", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "", 0, "application/json"},
		"kubectl":           {"application/json", "application/json", "fieldManager=kubectl-create&fieldValidation=Strict", 0, "application/json"},
		"a dry run":         {"", "", "dryRun=All", 0, "application/json"},
		"another dry run":   {"", "", "dryRun=Some", 422, ""},
		"another check":     {"", "", "fieldValidation=Some", 422, ""},
		"an endless query":  {"", "", strings.Repeat("x", maxQuery+1), 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n, status := newCodec(t).Negotiate(request(tt.contentType, tt.accept, tt.query))
			if tt.code != 0 {
				if n != nil || status == nil || status.Code != tt.code {
					t.Errorf("%+v, want %d", status, tt.code)
				}
				return
			}
			if status != nil {
				t.Fatal(status)
			}
			if n.out.MediaType != tt.answer {
				t.Errorf("answers with %s, want %s", n.out.MediaType, tt.answer)
			}
		})
	}
}

// TestWrite: an answer is what Kubernetes' clients read, in either encoding.
func TestWrite(t *testing.T) {
	review := &authenticationv1.TokenReview{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: authenticationv1.TokenReviewSpec{Token: secret, Audiences: []string{"a"}},
		Status: authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"a"}, User: authenticationv1.UserInfo{Username: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}},
	}
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		c := newCodec(t)
		n, status := c.Negotiate(request("", mediaType, ""))
		if status != nil {
			t.Fatal(status)
		}
		w := httptest.NewRecorder()
		if err := n.Write(w, review.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		got, _, err := c.DecoderToVersion(n.out.Serializer, authenticationv1.SchemeGroupVersion).Decode(w.Body.Bytes(), nil, nil)
		if err != nil || w.Code != http.StatusCreated || w.Header().Get("Content-Type") != mediaType {
			t.Fatalf("%d %s: %v", w.Code, w.Header(), err)
		}
		want := review.DeepCopy()
		if mediaType == runtime.ContentTypeJSON {
			want.SetGroupVersionKind(kind)
		}
		got.GetObjectKind().SetGroupVersionKind(want.GroupVersionKind())
		if diff := cmp.Diff(runtime.Object(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mediaType, diff)
		}
	}
}

// FuzzRead: whatever comes, it is a review with a token, or a 400 that quotes nothing of it
// but names of fields.
func FuzzRead(f *testing.F) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: secret, Audiences: []string{"a"}}}
	body, err := json.Marshal(review)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, false, body)
	f.Add(false, true, []byte(`{"spec":{"token":"`+secret+`","x":1}}`))
	f.Add(true, false, protobuf(f, review))
	f.Add(true, false, []byte("k8s\x00\x0a\x00"))
	c := newCodec(f)
	f.Fuzz(func(t *testing.T, proto, strict bool, body []byte) {
		contentType, query := runtime.ContentTypeJSON, ""
		if proto {
			contentType = runtime.ContentTypeProtobuf
		}
		if strict {
			query = "fieldValidation=Strict"
		}
		n, status := c.Negotiate(request(contentType, contentType, query))
		if status != nil {
			t.Fatal(status)
		}
		review, status := n.Read(bytes.Clone(body))
		if (review == nil) == (status == nil) {
			t.Fatalf("%v, %v", review, status)
		}
		if status != nil {
			if status.Code != http.StatusBadRequest || len(status.Message) > maxFieldNames+8 {
				t.Errorf("%+v", status)
			}
			return
		}
		if review.Spec.Token == "" || review.Namespace != "" || review.Status.Authenticated || review.Status.User.Username != "" {
			t.Errorf("%+v", review)
		}
		w := httptest.NewRecorder()
		if err := n.Write(w, review.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		again, status := n.Read(w.Body.Bytes())
		if status != nil || again.Spec.Token != strings.ToValidUTF8(review.Spec.Token, "\ufffd") && again.Spec.Token != review.Spec.Token {
			t.Errorf("what was written reads as %v, %v", again, status)
		}
	})
}
