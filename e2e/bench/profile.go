package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"frontproxy/e2e/harness"
)

// profileEach is how long each cell runs while the processor profile is taken.
const profileEach = 4 * time.Second

// profile writes a processor profile of front-proxy under the load of all cells, which take
// the same time each, for profile-guided optimisation.
func (b *bench) profile(ctx context.Context, to string) error {
	w, end, err := b.world(ctx, b.workspaces, 0)
	if err != nil {
		return err
	}
	defer end()
	port, err := harness.FreePort()
	if err != nil {
		return err
	}
	profiler := fmt.Sprintf("127.0.0.1:%d", port)
	b.extra = []string{"--profiler-address=" + profiler}
	r, _, err := b.start(ctx, ours, w)
	if err != nil {
		return err
	}
	defer r.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taken := make(chan error, 1)
	go func() {
		taken <- fetchInto(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", profiler, len(cells)*int(profileEach.Seconds())), to)
	}()
	b.measure, b.warm = profileEach, 0
	for i := range cells {
		b.progress("profile: " + cells[i].name)
		if err := b.cell(ctx, &cells[i], r, w, 0); err != nil {
			return err
		}
	}
	return <-taken
}

// fetchInto writes the body at url into a file.
func fetchInto(ctx context.Context, url, to string) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s: %.200s", url, res.Status, body)
	}
	return os.WriteFile(to, body, 0o644) //nolint:gosec // for everybody
}
