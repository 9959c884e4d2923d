package main

import (
	"fmt"
	"strings"
)

// table shows results in Markdown: a line for each suite, and the failures.
func table(all []result) string {
	var b, failures strings.Builder
	b.WriteString("| kcp | suite | passed | skipped | failed |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %d of %d | %d | %d |\n", r.version, r.suite, r.passed, r.passed+len(r.failed), r.skipped, len(r.failed))
		for _, test := range r.failed {
			fmt.Fprintf(&failures, "- kcp %s, %s: `%s`\n", r.version, r.suite, test)
		}
	}
	if failures.Len() > 0 {
		b.WriteString("\nFailed:\n\n" + failures.String())
	}
	return b.String()
}
