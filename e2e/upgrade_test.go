package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/e2e/harness"
)

// upgrade opens a ConfigMap watch over WebSocket. The nonce names the request
// in the shard's audit log. The status is 101 when it was upgraded.
func upgrade(t *testing.T, cluster string, header http.Header, protocols ...string) (conn *websocket.Conn, nonce string, status int) {
	t.Helper()
	return upgradeAt(t, env.Proxy, cluster, header, protocols...)
}

// upgradeAt is upgrade at another proxy.
func upgradeAt(t *testing.T, p *harness.Proxy, cluster string, header http.Header, protocols ...string) (conn *websocket.Conn, nonce string, status int) {
	t.Helper()
	nonce = strings.ToLower(rand.Text())
	dialer := websocket.Dialer{TLSClientConfig: clientTLS("http/1.1"), Subprotocols: protocols, HandshakeTimeout: settled}
	address := "wss" + strings.TrimPrefix(p.URL, "https") + "/clusters/" + cluster +
		"/api/v1/namespaces/default/configmaps?watch=true&labelSelector=nonce!%3D" + nonce
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Origin", "https://example.com") // a shard refuses to upgrade without one
	conn, response, err := dialer.DialContext(t.Context(), address, header)
	if response == nil {
		t.Fatalf("upgrade at %s: %v (logs: %s)", cluster, err, env.Logs())
	}
	if conn != nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, nonce, response.StatusCode
}

// auditedUser is whom the shard took the sender of an upgrade for, by its
// audit log.
func auditedUser(t *testing.T, shard, nonce string) authenticationv1.UserInfo {
	t.Helper()
	var user authenticationv1.UserInfo
	eventually(t, "the upgrade in the audit log of shard "+shard, func(context.Context) error {
		file, err := os.Open(env.Shard(shard).AuditLog)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var event struct {
				RequestURI string                    `json:"requestURI"`
				User       authenticationv1.UserInfo `json:"user"`
			}
			if !strings.Contains(lines.Text(), nonce) {
				continue
			}
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				return fmt.Errorf("half a line yet: %w", err)
			}
			user = event.User
			return nil
		}
		return errors.Join(lines.Err(), errors.New("not there yet"))
	})
	return user
}

// An upgraded connection works and carries the identity that was decided,
// whether the token comes in a header or, as from browsers, in a subprotocol.
func TestUpgradedWatch(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	jwt := token(issuer, "ada@example.com", "developers")
	eventuallyIn(t, env.Token(jwt), ws.Path)

	for name, how := range map[string]struct {
		header    http.Header
		protocols []string
	}{
		"header":      {http.Header{"Authorization": {"Bearer " + jwt}}, nil},
		"subprotocol": {nil, []string{bearerProtocol(jwt), "base64.binary.k8s.io"}},
	} {
		conn, nonce, status := upgrade(t, ws.Path, how.header, how.protocols...)
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("token in a %s: status %d, want 101 (logs: %s)", name, status, env.Logs())
		}
		compare(t, ws.Path, auditedUser(t, shardOne, nonce), identity(ws, "oidc:ada@example.com", "oidc:developers"))
		configMap := "via-" + name
		kube, err := env.Admin().Kube(ws.Path)
		check(t, err)
		createConfigMap(t, kube, configMap)
		awaitFrame(t, conn, configMap)
	}
	for name, header := range map[string]http.Header{"no": nil, "a bad": {"Authorization": {"Bearer garbage"}}} {
		if _, _, status := upgrade(t, ws.Path, header); status != http.StatusUnauthorized {
			t.Errorf("upgrade with %s token: status %d, want 401", name, status)
		}
	}
}
