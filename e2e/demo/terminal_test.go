package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrapped(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"one":               "one",
		"one two":           "one two",
		"one two three":     "one two\nthree",
		"a longwordisalone": "a\nlongwordisalone",
		"über öfter x":      "über\nöfter x",
	} {
		if diff := cmp.Diff(want, wrapped(in, 7)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestPrinted(t *testing.T) {
	output := "E1129 17:00:00.1 memcache.go:265] again and again\nWarning: " + strings.Repeat("word ", 30) + "\n" + strings.Repeat("x", 200) + "\nmetric 1\n"
	want := "    Warning: " + strings.TrimSpace(strings.Repeat("word ", 17)) + "\n    " + strings.TrimSpace(strings.Repeat("word ", 13)) + "\n    " +
		strings.Repeat("x", columns-5) + "…\n    metric 1\n"
	if diff := cmp.Diff(want, printed([]byte(output), "")); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("    metric 1\n", printed([]byte(output), "nothing metric")); diff != "" {
		t.Errorf("some (-want +got):\n%s", diff)
	}
}

// TestTerminalCountsSteps: on a terminal a step has its seconds, and then its tick.
func TestTerminalCountsSteps(t *testing.T) {
	var out strings.Builder
	live := &terminal{out: &out, live: true, begin: time.Now()}
	live.progress("starting shard root")
	live.progress("stopping")
	live.say("%s\n", live.styled(bold, "bye"))
	want := "\r\x1b[K  starting shard root \x1b[2m0 s\x1b[0m" + "\r\x1b[K\x1b[32m✓\x1b[0m starting shard root \x1b[2m0 s\x1b[0m\n" +
		"\r\x1b[K  stopping \x1b[2m0 s\x1b[0m" + "\r\x1b[K\x1b[32m✓\x1b[0m stopping \x1b[2m0 s\x1b[0m\n" + "\x1b[1mbye\x1b[0m\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("on a terminal (-want +got):\n%s", diff)
	}
	out.Reset()
	file := &terminal{out: &out, begin: time.Now()}
	file.progress("starting shard root")
	file.say("%s\n", file.styled(bold, "bye"))
	if diff := cmp.Diff("[  0s] starting shard root\nbye\n", out.String()); diff != "" {
		t.Errorf("in a file (-want +got):\n%s", diff)
	}
}
