package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	cliflag "k8s.io/component-base/cli/flag"
)

const usage = `front-proxy gives all shards of kcp one address: it finds the workspace of a
request, authenticates the caller, and forwards the request to the right shard.
Without a command it serves, with the arguments of kcp-front-proxy.
`

// newCommand returns the program's command line: the server, which has the flags of
// kcp-front-proxy and needs no command, and the commands beside it.
func newCommand(stdout io.Writer) *cobra.Command {
	o := newOptions()
	sections := o.flags()
	root := newServer(o, sections)
	check, checkSections := newCheckCommand()
	root.AddCommand(check, newExplainCommand(), newShadowCommand(), newStatuszCommand(), newVersionCommand())
	root.SetOut(stdout)
	checkCobrasCommands(root)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		own := &cliflag.NamedFlagSets{}
		switch c {
		case root:
			own = sections
		case check:
			own = checkSections
		default:
			own.FlagSet(c.Name()).AddFlagSet(c.Flags())
		}
		printHelp(c, own)
	})
	return root
}

// newServer returns the command that serves. Its flags are those in sections.
func newServer(o *options, sections *cliflag.NamedFlagSets) *cobra.Command {
	c := &cobra.Command{
		Use:           "front-proxy --mapping-file=… --root-kubeconfig=… --shards-kubeconfig=… [flags]",
		Long:          usage,
		SilenceErrors: true, // exitCode prints them
		SilenceUsage:  true,
		Version:       version + " " + runtime.Version(), // printed for --version, which cobra handles
		Args:          noUnknownCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			o.read(c.Flags())
			return serve(c.Context(), o)
		},
	}
	c.SetGlobalNormalizationFunc(cliflag.WordSepNormalizeFunc)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(c, fmt.Errorf("%w%s", err, didYouMean(c.Flags(), err)))
	})
	addSections(c.Flags(), sections)
	return c
}

func newVersionCommand() *cobra.Command {
	output := ""
	c := &cobra.Command{
		Use: "version [-o text|json|yaml]", Short: "Print the version", Long: "Version prints the version of front-proxy and of Go.\n",
		Args: outputOnly(&output),
		RunE: func(c *cobra.Command, _ []string) error { return printVersion(c.OutOrStdout(), output) },
	}
	c.Flags().StringVarP(&output, "output", "o", "text", outputUsage)
	completeOutput(c)
	return c
}

// printVersion names what it prints like kubectl version.
func printVersion(w io.Writer, output string) error {
	named := map[string]string{"gitVersion": version, "goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	return render(w, output, named, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "front-proxy version %s %s\n", version, runtime.Version())
	})
}

// addSections adds the flags of all sections.
func addSections(to *pflag.FlagSet, sections *cliflag.NamedFlagSets) {
	for _, name := range sections.Order {
		to.AddFlagSet(sections.FlagSets[name])
	}
}

// usageError says that c's command line cannot be used, unless err is nil. The exit status of the
// server is then 1, like kcp-front-proxy's; that of other commands is 2.
func usageError(c *cobra.Command, err error) error {
	switch {
	case err == nil:
		return nil
	case !c.HasParent():
		return fmt.Errorf("%w; see --help", err)
	}
	return &exitError{2, fmt.Sprintf("%s: %v; see %s --help", c.Name(), err, c.CommandPath())}
}

// noArguments refuses arguments that are not flags.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(c, fmt.Errorf("unexpected argument %q; flags begin with --", args[0]))
}

// outputOnly refuses arguments that are not flags, and unknown values of --output.
func outputOnly(output *string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := checkOutput(*output); err != nil {
			return usageError(c, err)
		}
		return noArguments(c, args)
	}
}

// noUnknownCommand refuses arguments of a command that has others below it: the first one was
// meant for one of these, unless it comes after --.
func noUnknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 || c.ArgsLenAtDash() == 0 {
		return noArguments(c, args)
	}
	return unknownCommand(c, c, args[0])
}

// unknownCommand is the usage error of c for a name that none of the commands below parent has.
func unknownCommand(c, parent *cobra.Command, name string) error {
	meant := ""
	parent.SuggestionsMinimumDistance = maxFlagTypos
	if names := parent.SuggestionsFor(name); len(names) > 0 {
		nearest := slices.MinFunc(names, func(a, b string) int { return edits(name, a) - edits(name, b) })
		meant = fmt.Sprintf(" (did you mean %s?)", nearest)
	}
	return usageError(c, fmt.Errorf("unknown command %q%s", name, meant))
}

// checkCobrasCommands makes cobra's own commands refuse arguments that they do not know, which they
// would answer with help and exit status 0.
func checkCobrasCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(c *cobra.Command, args []string) error {
				if found, rest, _ := root.Find(args); len(rest) > 0 {
					return unknownCommand(c, found, rest[0])
				}
				return nil
			}
		case "completion":
			c.Args, c.RunE = noUnknownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
			for _, shell := range c.Commands() {
				shell.Args = noArguments
			}
		}
	}
}

// maxFlagTypos is by how many edits a name may differ from the one that was meant: commands and
// flags differ less from each other than gates do.
const maxFlagTypos = 2

// didYouMean returns, in parentheses, the flag that an unknown flag may be a
// misspelling of. It returns "" if there is none, or for another error.
func didYouMean(known *pflag.FlagSet, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	name, best := "", maxFlagTypos+1
	known.VisitAll(func(f *pflag.Flag) {
		if n := edits(unknown.GetSpecifiedName(), f.Name); n < best {
			name, best = f.Name, n
		}
	})
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean --%s?)", name)
}

// printHelp prints what c does, the commands below it, and its flags.
func printHelp(c *cobra.Command, flags *cliflag.NamedFlagSets) {
	w := c.OutOrStdout()
	_, _ = fmt.Fprintf(w, "%s\nUsage:\n  %s\n", c.Long, c.UseLine())
	if c.HasAvailableSubCommands() {
		_, _ = fmt.Fprintf(w, "  %s <command> --help\n\nCommands:\n", c.CommandPath())
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				_, _ = fmt.Fprintf(table, "  %s\t%s\n", sub.Name(), sub.Short)
			}
		}
		_ = table.Flush()
	}
	var sections strings.Builder
	cliflag.PrintSections(&sections, *flags, helpColumns(w))
	for line := range strings.Lines(sections.String()) { // PrintSections pads them
		_, _ = fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// maxHelpColumns is the maximum width of help, and its width if it is not written to a terminal.
const maxHelpColumns = 120

// helpColumns returns how wide help may be.
func helpColumns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 { //nolint:gosec // a file descriptor is small
			return min(columns, maxHelpColumns)
		}
	}
	return maxHelpColumns
}
