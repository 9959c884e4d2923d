package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/proxy/zpages"
)

// TestExplainTextIsStable: the text of an explanation lists extras by key, the same each time.
func TestExplainTextIsStable(t *testing.T) {
	e := &zpages.Explanation{User: &authenticationv1.UserInfo{Username: "alice", Extra: map[string]authenticationv1.ExtraValue{
		"d": {"4"}, "b": {"2"}, "a": {"1"}, "c": {"3"}, "f": {"6"}, "e": {"5"},
	}}}
	var got []string
	var text strings.Builder
	explainText(&text, e)
	for line := range strings.Lines(text.String()) {
		if extra, ok := strings.CutPrefix(strings.TrimSpace(line), "extra "); ok {
			got = append(got, extra)
		}
	}
	want := []string{`a: ["1"]`, `b: ["2"]`, `c: ["3"]`, `d: ["4"]`, `e: ["5"]`, `f: ["6"]`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("extras (-want +got):\n%s", diff)
	}
}

func TestPlainText(t *testing.T) {
	if got, want := plainText("two\nlines \x1b[31mred\u0085"), "two lines \ufffd[31mred\ufffd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
