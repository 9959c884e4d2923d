package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/e2e/harness"
)

// forged are identity headers in the spellings that readers fold together.
func forged() http.Header {
	header := http.Header{}
	add := func(name, value string) {
		for _, spelling := range []string{
			name, strings.ToLower(name), strings.ToUpper(name),
			strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1), strings.ToLower(strings.ReplaceAll(name, "-", "_")),
		} {
			header[spelling] = []string{value}
		}
	}
	add("X-Remote-User", "system:admin")
	add("X-Remote-Group", "system:masters")
	add("X-Remote-Uid", "0")
	for _, key := range []string{"Authentication.kcp.io%2fscopes", "authentication.kcp.io%2Fcluster-name", "authorization.kcp.io%2fwarrant", "Acme"} {
		add("X-Remote-Extra-"+key, "cluster:root")
	}
	return header
}

// forgedNames is the names of forged, as for a Connection header.
func forgedNames() string {
	var names []string
	for name := range forged() {
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// Nothing a client sends adds, keeps or removes a part of its identity.
func TestForgedIdentityHeaders(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	jwt := token(issuer, "ada@example.com", "developers")
	want := identity(ws, "oidc:ada@example.com", "oidc:developers")
	eventuallyIn(t, env.Token(jwt), ws.Path)

	t.Run("headers", func(t *testing.T) {
		for _, protocol := range protocols() {
			header := forged()
			header.Set("Authorization", "Bearer "+jwt)
			compare(t, ws.Path, whoami(t, protocol, ws.Path, header).user(t), want)
		}
	})
	t.Run("named in Connection", func(t *testing.T) {
		for _, names := range []string{
			forgedNames(), strings.ToLower(forgedNames()), "close, " + forgedNames(), "X-Remote-User,,X-Remote-Group ,\tX-Remote-Extra-Authentication.kcp.io%2fscopes",
			"X-Remote-Extra-Authentication.kcp.io%2fscopes, X-Remote-Extra-Authentication.kcp.io%2fcluster-name", "Authorization, X-Forwarded-For",
		} {
			compare(t, ws.Path, sendRaw(t, rawReview(ws.Path, jwt, "Connection: "+names)).user(t), want)
			compare(t, ws.Path, sendRaw(t, rawReview(ws.Path, jwt, "Connection: "+names, "X-Remote-User: system:admin", "X-Remote-Group: system:masters")).user(t), want)
		}
	})
	t.Run("in trailers", func(t *testing.T) {
		raw := "POST " + reviewPath(ws.Path) + " HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer " + jwt +
			"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Remote-User, X-Remote-Group\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Remote-User: system:admin\r\nX-Remote-Group: system:masters\r\n\r\n", len(review), review)
		compare(t, ws.Path, sendRaw(t, raw).user(t), want)
		for _, protocol := range protocols() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, env.Proxy.URL+reviewPath(ws.Path), onlyReader{strings.NewReader(review)})
			check(t, err)
			request.Header = http.Header{"Authorization": {"Bearer " + jwt}, "Content-Type": {"application/json"}}
			request.Trailer = http.Header{"X-Remote-User": {"system:admin"}, "X-Remote-Group": {"system:masters"}}
			compare(t, ws.Path, send(t, protocol, request).user(t), want)
		}
	})
	t.Run("on upgrades", func(t *testing.T) {
		header := forged()
		header.Set("Authorization", "Bearer "+jwt)
		_, nonce, status := upgrade(t, ws.Path, header)
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d, want 101", status)
		}
		compare(t, ws.Path, auditedUser(t, shardOne, nonce), want)
		raw := strings.NewReplacer("POST", "GET", reviewPath(ws.Path), "/clusters/"+ws.Path+"/api/v1/namespaces/default/configmaps?watch=true&labelSelector=a!%3D"+ws.Cluster).
			Replace(rawReview(ws.Path, jwt, "Connection: Upgrade, "+forgedNames(), "Upgrade: websocket", "Sec-WebSocket-Version: 13",
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://proxy"))
		raw = strings.Replace(strings.TrimSuffix(raw, review), fmt.Sprintf("Content-Length: %d\r\n", len(review)), "", 1)
		if status := upgradeRaw(t, raw); status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d, want 101", status)
		}
		compare(t, ws.Path, auditedUser(t, shardOne, ws.Cluster), want)
	})
	t.Run("two Connection lines and odd spaces", func(t *testing.T) {
		for _, lines := range [][]string{
			{"Connection: X-Remote-User", "Connection: X-Remote-Group"},
			{"X-Remote-User : system:admin"}, {" X-Remote-User: system:admin"}, {"X-Remote-User:system:admin", "x-remote-user:\tsystem:admin"},
			{"X-A: b\n X-Remote-User: system:admin"},
		} {
			answer := sendRaw(t, rawReview(ws.Path, jwt, lines...))
			if answer.status == http.StatusBadRequest {
				continue // malformed ones need not be understood
			}
			compare(t, ws.Path, answer.user(t), want)
		}
	})
}

// Without a credential, forged headers are no identity.
func TestForgedIdentityHeadersAlone(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	typed := o.workspace("team", o.kind("team", "a"), shardOne)
	plain := o.workspace("plain", harness.TypeRef{}, shardOne)
	eventuallyIn(t, env.Token(token(issuer, "ada@example.com")), typed.Path)
	for _, cluster := range []string{typed.Path, plain.Path, "root"} {
		for _, protocol := range protocols() {
			answer := whoami(t, protocol, cluster, forged())
			if answer.status != http.StatusUnauthorized && answer.status != http.StatusForbidden {
				t.Errorf("%s over %s: %s, want 401 or 403", cluster, protocol, answer)
			}
		}
	}
	if _, _, status := upgrade(t, typed.Path, forged()); status != http.StatusUnauthorized {
		t.Errorf("upgrade: status %d, want 401", status)
	}
}

// A certificate's user stays that user.
func TestForgedIdentityHeadersWithACertificate(t *testing.T) {
	t.Parallel()
	transport, err := transportFor(env.AdminKeys())
	check(t, err)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, env.Proxy.URL+reviewPath("root"), strings.NewReader(review))
	check(t, err)
	request.Header = forged()
	request.Header.Set("Content-Type", "application/json")
	response, err := transport.RoundTrip(request)
	check(t, err)
	got := read(t, response).user(t)
	delete(got.Extra, "authentication.kubernetes.io/credential-id")
	if len(got.Extra) == 0 {
		got.Extra = nil
	}
	compare(t, "root", got, authenticationv1.UserInfo{Username: "kcp-admin", Groups: []string{"system:authenticated", "system:kcp:admin"}})
}

// rawReview is a whoami request over HTTP/1.1 with more header lines.
func rawReview(cluster, jwt string, lines ...string) string {
	head := append([]string{
		"POST " + reviewPath(cluster) + " HTTP/1.1", "Host: proxy", "Authorization: Bearer " + jwt,
		"Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(review)),
	}, lines...)
	return strings.Join(head, "\r\n") + "\r\n\r\n" + review
}
