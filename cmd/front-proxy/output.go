package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// clientOptions are the common flags of explain and shadow, which send requests to
// proxies and print a report.
type clientOptions struct {
	output  string
	timeout time.Duration // for one response in shadow, for the whole run in explain
	help    bool
}

// flagSet returns the common flags; name is the subcommand.
func (a *clientOptions) flagSet(name string, timeout time.Duration) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVarP(&a.output, "output", "o", "text", "Output format: text, json or yaml.")
	fs.DurationVar(&a.timeout, "timeout", timeout, "How long to wait for a response.")
	fs.BoolVarP(&a.help, "help", "h", false, "Print this help and exit.")
	return fs
}

// parse parses args and passes the arguments that are not flags to validate. done
// means that help was requested and printed. An error is a wrong command line: exit
// status 2.
func (a *clientOptions) parse(fs *pflag.FlagSet, args []string, usage string, stdout io.Writer, validate func([]string) error) (done bool, err error) {
	if err = fs.Parse(args); err != nil {
		err = fmt.Errorf("%w%s", err, didYouMean(fs, err))
	} else if a.help {
		_, err := fmt.Fprint(stdout, usage, fs.FlagUsages())
		return true, err
	}
	if err == nil {
		err = validate(fs.Args())
	}
	if err == nil {
		err = checkOutput(a.output)
	}
	if err != nil {
		return false, &exitError{2, fmt.Sprintf("%s: %v; see %[1]s --help", fs.Name(), err)}
	}
	return false, nil
}

// checkOutput returns an error if --output is unknown.
func checkOutput(output string) error {
	switch output {
	case "text", "json", "yaml":
		return nil
	}
	return fmt.Errorf("--output=%s: must be text, json or yaml", output)
}

// render writes v in the requested format.
func render(w io.Writer, output string, v any, text func(io.Writer)) error {
	switch output {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		out, err := yaml.Marshal(v)
		if err == nil {
			_, err = w.Write(out)
		}
		return err
	}
	text(w)
	return nil
}
