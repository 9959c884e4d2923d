package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"frontproxy/e2e/harness"
)

// bench is one run.
type bench struct {
	*plan
	self, work string
	binaries   harness.Binaries
	results    *results
	progress   func(string)
	// haproxyPath is HAProxy; empty: there is none.
	haproxyPath string
	started     int
}

// Nothing takes longer to start, or to report beyond its time, on a machine
// that can be used at all.
const patience = 3 * time.Minute

// part starts one of this program's own parts, and reads its report into v;
// report is the task's. The part runs on.
func (b *bench) part(ctx context.Context, name, report string, task, v any) (process, error) {
	encoded, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	p, err := b.startPart(ctx, name, string(encoded))
	if err != nil {
		return nil, err
	}
	if report == "" {
		return p, nil
	}
	if err := awaitReport(ctx, p, report, v); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// log is the file that has what programs of that name wrote.
func (b *bench) log(name string) string { return filepath.Join(b.work, name+".log") }

// file names a file that nobody has.
func (b *bench) file(name string) string {
	b.started++
	return filepath.Join(b.work, fmt.Sprintf("%d-%s", b.started, name))
}

func awaitReport(ctx context.Context, p process, report string, v any) error {
	return await(ctx, patience, 5*time.Millisecond, func() (bool, error) {
		text, err := os.ReadFile(report) //nolint:gosec // a name of our own
		if errors.Is(err, fs.ErrNotExist) {
			return false, alive(p, report)
		}
		if err != nil {
			return false, err
		}
		return true, json.Unmarshal(text, v)
	})
}

// alive is Program.Alive, but a part that has written its report may end.
func alive(p process, report string) error {
	err := p.Alive()
	if err == nil {
		return nil
	}
	if _, statErr := os.Stat(report); statErr == nil {
		return nil
	}
	return err
}

// await asks every so often until it is done.
func await(ctx context.Context, most, every time.Duration, done func() (bool, error)) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("not done after %s", most)
		case <-tick.C:
		}
	}
}

// world starts a stand-in kcp. The function returned ends it.
func (b *bench) world(ctx context.Context, workspaces, configurations int) (*world, func(), error) {
	return b.worldOf(ctx, worldTask{Workspaces: workspaces, Configurations: configurations})
}

func (b *bench) worldOf(ctx context.Context, t worldTask) (*world, func(), error) {
	dir := b.file("world")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	t.Dir, t.Report = dir, filepath.Join(dir, "report.json")
	w := &world{}
	p, err := b.part(ctx, "world", t.Report, t, w)
	if err != nil {
		return nil, nil, err
	}
	return w, p.Kill, nil
}

// load has a process of its own make load, and returns its report. With Hold it
// runs on until the function returned is called.
func (b *bench) load(ctx context.Context, t loadTask) (*loadReport, func(), error) {
	t.Report = b.file("load.json")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := &loadReport{}
	p, err := b.part(ctx, "load", t.Report, t, r)
	if err != nil {
		return nil, nil, err
	}
	if t.Hold > 0 {
		return r, p.Kill, nil
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
	}
	return r, func() {}, nil
}
