package deploy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const (
	readme      = "charts/front-proxy/README.md"
	readmeBegin = "<!-- generated: make docs -->\n"
	readmeEnd   = "<!-- end of generated -->\n"
)

// TestChartReadmeDoc: the tables in the chart's README are those of values.yaml,
// with its comments. With UPDATE_DOCS=1 they are written.
func TestChartReadmeDoc(t *testing.T) {
	want := valueTables(chartValues(t))
	data, err := os.ReadFile(readme)
	check(t, err)
	before, rest, ok := strings.Cut(string(data), readmeBegin)
	tables, after, ok2 := strings.Cut(rest, readmeEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables, between %q and %q", readme, readmeBegin, readmeEnd)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		check(t, os.WriteFile(readme, []byte(before+readmeBegin+want+readmeEnd+after), 0o644)) //nolint:gosec // a page of the repository
		return
	}
	if diff := cmp.Diff(want, tables); diff != "" {
		t.Errorf("%s is out of date; run: make docs\n(-want +got):\n%s", readme, diff)
	}
}

// chartValues is the map at the top of the chart's values.yaml.
func chartValues(t *testing.T) *yaml.Node {
	t.Helper()
	content, err := os.ReadFile("charts/front-proxy/values.yaml")
	check(t, err)
	var document yaml.Node
	check(t, yaml.Unmarshal(content, &document))
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		t.Fatal("values.yaml is no map")
	}
	return document.Content[0]
}

// fields calls f for each key of a map and its value.
func fields(m *yaml.Node, f func(key, value *yaml.Node)) {
	for n := 0; n+1 < len(m.Content); n += 2 {
		f(m.Content[n], m.Content[n+1])
	}
}

// valueTables has a section for each key at the top.
func valueTables(values *yaml.Node) string {
	var b strings.Builder
	fields(values, func(key, value *yaml.Node) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", key.Value, meaning(key, value))
		if !nested(value) {
			fmt.Fprintf(&b, "\nDefault: `%s`\n", shown(value))
			return
		}
		b.WriteString("\n| value | default | meaning |\n|---|---|---|\n")
		valueRows(&b, key.Value+".", value)
	})
	return b.String()
}

// valueRows writes a row for each value below a map, and one for each map in it
// that has a comment of its own.
func valueRows(b *strings.Builder, prefix string, m *yaml.Node) {
	fields(m, func(key, value *yaml.Node) {
		said := meaning(key, value)
		if nested(value) {
			if said != "" {
				fmt.Fprintf(b, "| **`%s%s`** | | %s |\n", prefix, key.Value, said)
			}
			valueRows(b, prefix+key.Value+".", value)
			return
		}
		fmt.Fprintf(b, "| `%s%s` | `%s` | %s |\n", prefix, key.Value, strings.ReplaceAll(shown(value), "|", `\|`), said)
	})
}

// nested reports whether a value is a map over several lines; one in braces is
// shown whole.
func nested(value *yaml.Node) bool {
	return value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0
}

// meaning is the comment above a key and at the end of its line, for a cell of a
// table.
func meaning(key, value *yaml.Node) string {
	var words []string
	for _, c := range []string{key.HeadComment, key.LineComment, value.LineComment} {
		for line := range strings.Lines(c) {
			words = append(words, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")))
		}
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(strings.Join(words, " "))
}

// shown is a value on one line.
func shown(value *yaml.Node) string {
	var parts []string
	switch value.Kind {
	case yaml.SequenceNode:
		for _, item := range value.Content {
			parts = append(parts, shown(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.MappingNode:
		fields(value, func(key, value *yaml.Node) { parts = append(parts, key.Value+": "+shown(value)) })
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.ScalarNode:
		if value.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			return `"` + value.Value + `"`
		}
	}
	return value.Value
}
