package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

const (
	flagsDoc   = "../../docs/flags.md"
	flagsBegin = "<!-- generated: make docs -->\n"
	flagsEnd   = "<!-- end of generated -->\n"
)

// TestFlagsDoc: the tables in docs/flags.md are those of the code. With
// UPDATE_DOCS=1 they are written.
func TestFlagsDoc(t *testing.T) {
	want := flagTables()
	data, err := os.ReadFile(flagsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), flagsBegin)
	tables, after, ok2 := strings.Cut(rest, flagsEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables, between %q and %q", flagsDoc, flagsBegin, flagsEnd)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(flagsDoc, []byte(before+flagsBegin+want+flagsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, tables); diff != "" {
		t.Errorf("%s is out of date; run: make docs\n(-want +got):\n%s", flagsDoc, diff)
	}
}

// flagTables has a table for each section of --help and each subcommand.
func flagTables() string {
	var b strings.Builder
	sections := newOptions().flags()
	for _, name := range sections.Order {
		flagTable(&b, strings.ToUpper(name[:1])+name[1:], sections.FlagSets[name])
	}
	flagTable(&b, "front-proxy explain", newExplainCommand().Flags())
	flagTable(&b, "front-proxy statusz", newStatuszCommand().Flags())
	flagTable(&b, "front-proxy shadow", newShadowCommand().Flags())
	return b.String()
}

func flagTable(b *strings.Builder, title string, flags *pflag.FlagSet) {
	fmt.Fprintf(b, "\n## %s\n\n| flag | value, default | meaning |\n|---|---|---|\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		if kind == "" {
			kind = f.Value.Type()
		}
		if f.DefValue != "" && f.DefValue != "[]" {
			kind += ", `" + cell(f.DefValue) + "`"
		}
		if f.Deprecated != "" {
			usage += " Deprecated: " + f.Deprecated
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, kind, cell(usage))
	})
}

// cell is text as one cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", "<br>").Replace(strings.TrimSpace(text))
}
