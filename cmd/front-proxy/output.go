package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// clientOptions are the common flags of the commands that send requests to proxies and print a
// report.
type clientOptions struct {
	output  string
	timeout time.Duration // for one response in shadow, else for the whole run
}

// outputUsage is the usage of --output.
const outputUsage = "Output format: text, json or yaml."

func (o *clientOptions) flags(fs *pflag.FlagSet, timeout time.Duration) {
	fs.StringVarP(&o.output, "output", "o", "text", outputUsage)
	fs.DurationVar(&o.timeout, "timeout", timeout, "How long to wait for a response.")
}

// completeOutput has shells complete --output.
func completeOutput(c *cobra.Command) {
	if err := c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was just defined
	}
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
