package across

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

// The shards besides root. One's name begins with the other's.
const shardOne, shardTen = "shard-1", "shard-10"

// gate is the feature gate of accounts that own workspaces elsewhere.
const gate = "--feature-gates=ServiceAccountWorkspaceOwners=true"

// env is the kcp all tests share; set once by TestMain, before any test.
var env *harness.Environment

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	binaries, err := harness.FindBinaries("")
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e/across: cannot run without real binaries:\n%v\n", err)
		return 1
	}
	started, release, err := harness.Shared()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/across:", err)
		return 1
	}
	defer release()
	policy, err := auditPolicy()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/across:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(policy)) }()
	begin := time.Now()
	env, err = harness.Start(context.Background(), harness.Config{
		Binaries: binaries,
		Shards:   []string{shardOne, shardTen},
		// Embedded in the others.
		VirtualWorkspaceServers: []string{shardTen},
		ShardArgs: func(shard, proxyURL string) []string {
			return []string{
				"--shard-virtual-workspace-url=" + proxyURL + "/shards/" + shard + "/", "--audit-policy-file=" + policy,
				"--feature-gates=CacheAPIs=true",
			}
		},
		Proxy: harness.ProxyOptions{Args: acrossArgs()},
		Progress: func(message string) {
			fmt.Fprintf(os.Stderr, "e2e/across [%3.0fs] %s\n", time.Since(begin).Seconds(), message)
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/across:", err)
		return 1
	}
	started()
	code := m.Run()
	if leaks, err := env.Leaks(); err != nil || len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "e2e/across: credentials in what the proxies wrote (%v):\n%s\n", err, strings.Join(leaks, "\n"))
		code = 1
	}
	if err := env.Stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/across:", err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "e2e/across: logs of kcp and the proxy are in %s\n", env.Logs())
	}
	return code
}

// acrossArgs are the flags these tests are about, without the gate.
func acrossArgs() []string {
	return []string{
		"--service-account-keys-from-shards", "--shard-virtual-workspaces",
		"--shard-client-common-names=" + harness.RootShard + "=shard-client-" + harness.RootShard + ",shard-client-" + shardOne + "," + shardTen + "=shard-client-" + shardTen +
			",external-logical-cluster-admin", // with which a shard copies a workspace from another
	}
}

// auditPolicy has shards record who creates Workspaces.
func auditPolicy() (string, error) {
	dir, err := os.MkdirTemp("", "front-proxy-audit-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "policy.yaml")
	return path, os.WriteFile(path, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, patch]
  resources: [{group: tenancy.kcp.io, resources: [workspaces]}]
- level: None
`), 0o600)
}
