package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// problems splits an error that joins others, at any depth, into one line for each of them. What
// wraps them, such as the name of a file, begins each line.
func problems(err error) []string {
	switch joined := err.(type) { //nolint:errorlint // one layer at a time
	case interface{ Unwrap() []error }:
		return problemsOf(joined.Unwrap())
	case interface{ Errors() []error }: // Kubernetes' aggregates and strict decoding errors
		return problemsOf(joined.Errors())
	}
	text := err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		if before, ok := strings.CutSuffix(text, inner.Error()); ok {
			lines := problems(inner)
			for i := range lines {
				lines[i] = before + lines[i]
			}
			return lines
		}
	}
	return []string{strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")}
}

func problemsOf(all []error) []string {
	var lines []string
	for _, err := range all {
		lines = append(lines, problems(err)...)
	}
	return lines
}

// fieldPath is a path of fields, as in jwt[0].issuer.url.
var fieldPath = regexp.MustCompile(`[A-Za-z]\w*(?:\[\d+\])*(?:\.\w+(?:\[\d+\])*)*`)

// withLine adds the line number to the first field of a YAML file that a problem names. A problem
// that names no field stays as it is, and so does every problem if the file cannot be read.
func withLine(problem, file string) string {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's file
	var doc yamlv3.Node
	if err != nil || yamlv3.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return problem
	}
	before, rest, named := strings.Cut(problem, file)
	if !named {
		before, rest = "", problem
	} else {
		before += file
	}
	for _, at := range fieldPath.FindAllStringIndex(rest, -1) {
		if line := lineOf(doc.Content[0], rest[at[0]:at[1]]); line > 0 {
			end := at[1]
			if strings.HasPrefix(rest[end:], `"`) {
				end++
			}
			return before + rest[:end] + fmt.Sprintf(" (line %d)", line) + rest[end:]
		}
	}
	return problem
}

// lineOf returns the line of the field at path below node. If there is no such field, it returns
// the line of the last one on the way to it, or 0 if there is none of them.
func lineOf(node *yamlv3.Node, path string) int {
	line := 0
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		if node.Kind == yamlv3.AliasNode {
			node = node.Alias
		}
		next := (*yamlv3.Node)(nil)
		switch n, err := strconv.Atoi(step); {
		case node.Kind == yamlv3.SequenceNode && err == nil && n < len(node.Content):
			next = node.Content[n]
			line = next.Line
		case node.Kind == yamlv3.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == step {
					next, line = node.Content[i+1], node.Content[i].Line
				}
			}
		}
		if next == nil {
			break
		}
		node = next
	}
	return line
}
