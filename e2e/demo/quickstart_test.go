package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const quickStartPage = "../../docs/quick-start.md"

var block = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// quickStart runs the page's sh blocks, in order and in one bash that has read
// the demo's variables, and looks for each line of a text block in the output
// of the sh block before it.
func quickStart(t *testing.T, shellFile string) {
	t.Helper()
	page, err := os.ReadFile(quickStartPage)
	check(t, err)
	script := fmt.Sprintf("set -eu\nsource %q\n", shellFile)
	var want []string // of each sh block
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		if m[1] == "sh" {
			script += m[2] + fmt.Sprintf("echo %q\n", endOfBlock)
			want = append(want, "")
			continue
		}
		want[len(want)-1] = m[2]
	}
	if len(want) < 8 {
		t.Fatalf("%s has %d sh blocks, want more", quickStartPage, len(want))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", script)
	bash.WaitDelay = 10 * time.Second
	output, err := bash.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", quickStartPage, err, output)
		return
	}
	printed := strings.Split(string(output), endOfBlock)
	for i, lines := range want {
		for line := range strings.Lines(lines) {
			if !strings.Contains(printed[i], strings.TrimSuffix(line, "\n")) {
				t.Errorf("%s: block %d did not print %q but:\n%s", quickStartPage, i+1, line, printed[i])
			}
		}
	}
}

const endOfBlock = "=== end of block ==="
