package e2e

import (
	"context"
	"fmt"
	"os"
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
	binaries, err := harness.FindBinaries()
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: cannot run without real binaries:\n%v\n`make test` builds them and runs everything; `make test-unit` runs what needs none\n", err)
		return 1
	}
	begin := time.Now()
	env, err = harness.Start(context.Background(), harness.Config{
		Binaries: binaries,
		Shards:   []string{shardOne},
		Proxy:    harness.ProxyOptions{Incumbent: os.Getenv("FRONT_PROXY_E2E_INCUMBENT") == "true"},
		Progress: func(message string) {
			fmt.Fprintf(os.Stderr, "e2e [%3.0fs] %s\n", time.Since(begin).Seconds(), message)
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if err := env.Stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "e2e: logs of kcp and the proxy are in %s\n", env.Logs())
	}
	return code
}
