package e2e

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

// shardOne is the second shard.
const shardOne = "shard-1"

// env is the kcp all tests share; set once by TestMain, before any test.
var env *harness.Environment

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	binaries, err := harness.FindBinaries("")
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: cannot run without real binaries:\n%v\n`make test` builds them and runs everything; `make test-unit` runs what needs none\n", err)
		return 1
	}
	started, release, err := harness.Shared()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer release()
	begin := time.Now()
	env, err = harness.Start(context.Background(), harness.Config{
		Binaries: binaries,
		Shards:   []string{shardOne},
		Proxy:    harness.ProxyOptions{Incumbent: os.Getenv("FRONT_PROXY_E2E_INCUMBENT") == "true", MountReentry: true},
		Progress: func(message string) {
			fmt.Fprintf(os.Stderr, "e2e [%3.0fs] %s\n", time.Since(begin).Seconds(), message)
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	started()
	code := m.Run()
	if found := troubles(env.Logs()); len(found) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: what no proxy should log:\n%s\n", strings.Join(found, "\n"))
		code = 1
	}
	leaks, err := env.Leaks()
	if err != nil || len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: credentials in what the proxies wrote (%v):\n%s\n", err, strings.Join(leaks, "\n"))
		code = 1
	}
	if err := env.Stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "e2e: logs of kcp and the proxy are in %s\n", env.Logs())
	}
	return code
}

// troubles are lines of the proxies' logs that mean a fault whatever the tests
// saw.
func troubles(logs string) []string {
	files, err := filepath.Glob(filepath.Join(logs, "proxy*.log"))
	if err != nil || len(files) == 0 {
		return []string{fmt.Sprintf("no logs of a proxy in %s (%v)", logs, err)}
	}
	var found []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return []string{err.Error()}
		}
		for line := range strings.Lines(string(content)) {
			for _, sign := range []string{"DATA RACE", "panic", "nil pointer", "concurrent map"} {
				if strings.Contains(line, sign) {
					found = append(found, filepath.Base(file)+": "+strings.TrimSpace(line))
				}
			}
			for _, secret := range []string{"Bearer ey", "eyJhbGci"} {
				if strings.Contains(line, secret) {
					found = append(found, filepath.Base(file)+": a token is logged")
				}
			}
		}
	}
	return found
}
