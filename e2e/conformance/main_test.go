package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCounts(t *testing.T) {
	r := result{version: "v1", suite: "proxy"}
	var log strings.Builder
	err := r.read(strings.NewReader(`{"Action":"start"}
{"Action":"output","Test":"TestA","Output":"some text\n"}
{"Action":"pass","Test":"TestA/one"}
{"Action":"fail","Test":"TestA/two"}
{"Action":"fail","Test":"TestA"}
{"Action":"skip","Test":"TestB"}
{"Action":"pass","Test":"TestC"}
{"Action":"fail"}
`), &log)
	if err != nil {
		t.Fatal(err)
	}
	want := result{version: "v1", suite: "proxy", passed: 2, skipped: 1, failed: []string{"TestA", "TestA/two"}}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(result{})); diff != "" || log.String() != "some text\n" {
		t.Errorf("(-want +got):\n%s\nlog %q", diff, log.String())
	}
	broken := result{}
	if err := broken.read(strings.NewReader("{\"Action\":\"build-fail\"}\n"), &log); err != nil || len(broken.failed) != 1 {
		t.Errorf("what does not build: %+v, %v", broken, err)
	}
	if err := broken.read(strings.NewReader("panic\n"), &log); err == nil {
		t.Error("what is no event is no error")
	}

	text := table([]result{r})
	for _, part := range []string{"| v1 | proxy | 2 of 4 | 1 | 2 |\n", "- kcp v1, proxy: `TestA/two`\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the table lacks %q:\n%s", part, text)
		}
	}
}
