package zpages

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/util/cert"

	"frontproxy/authn/identity"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/identityheaders"
)

// ExplainRequest asks about a credential in hand.
type ExplainRequest struct {
	// Path and Method describe the request to explain; an empty Method means GET.
	Path   string `json:"path"`
	Method string `json:"method,omitempty"`
	// Token is a bearer token, Certificates a client's certificate and its chain
	// in PEM, without a key: it is judged as if its owner had connected.
	Token        string `json:"token,omitempty"`
	Certificates string `json:"certificates,omitempty"`
	// Asserted is the user that the certificate's owner asserts in X-Remote-*
	// headers; nil means none. Only certificates of proxies and shards can assert
	// one.
	Asserted *authenticationv1.UserInfo `json:"asserted,omitempty"`
	// Change has objects that are taken for applied.
	Change *workspacetypes.Change `json:"change,omitempty"`
}

// readExplainRequest makes the request to explain. Errors hold no part of the
// credential.
func readExplainRequest(r *http.Request) (*http.Request, *workspacetypes.Change, error) {
	var q ExplainRequest
	if err := readQuestion(r, "an ExplainRequest", &q); err != nil {
		return nil, nil, err
	}
	u, err := url.ParseRequestURI(q.Path)
	if err != nil || !strings.HasPrefix(q.Path, "/") {
		return nil, nil, errors.New("path: must begin with a slash, as in /clusters/root:org:ws/api/v1/namespaces")
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	asked := &http.Request{
		Method: q.Method, URL: u, RequestURI: q.Path, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Host: r.Host, TLS: &tls.ConnectionState{HandshakeComplete: true},
	}
	if q.Token != "" {
		asked.Header.Set("Authorization", "Bearer "+q.Token)
	}
	if q.Asserted != nil {
		identityheaders.New(identityheaders.DefaultUser, identityheaders.DefaultGroup, identityheaders.DefaultExtra, identityheaders.DefaultUID).Set(asked.Header, identity.FromUserInfo(q.Asserted))
	}
	if asked.TLS.PeerCertificates, err = parseCertificates(q.Certificates); err != nil {
		return nil, nil, err
	}
	return asked, q.Change, nil
}

// readQuestion decodes r's body into q. Errors call it what, and hold no part of the body.
func readQuestion(r *http.Request, what string, q any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxRequest))
	if err != nil {
		return fmt.Errorf("read the question (at most %d bytes): %w", MaxRequest, err)
	}
	if err := json.Unmarshal(body, q); err != nil { // which may quote the body
		return fmt.Errorf("the body is not %s in JSON", what)
	}
	return nil
}

// maxChain bounds the certificates of a client.
const maxChain = 16

func parseCertificates(text string) ([]*x509.Certificate, error) {
	if text == "" {
		return nil, nil
	}
	all, err := cert.ParseCertsPEM([]byte(text))
	switch {
	case err != nil:
		return nil, fmt.Errorf("certificates: no PEM certificate, or one that cannot be read: %w", err)
	case len(all) > maxChain:
		return nil, fmt.Errorf("certificates: more than %d", maxChain)
	}
	return all, nil
}
