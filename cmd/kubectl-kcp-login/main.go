// Kubectl-kcp_login is the command `kubectl kcp-login`. From the URL of a workspace
// behind front-proxy it makes a working kubeconfig. The proxy publishes where the
// workspace's users log in (RFC 9728); the user agrees once and logs in; from then on
// kubectl asks this program for tokens. See docs/login.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"frontproxy/internal/login/tokencache"
	"frontproxy/internal/login/trust"
)

// version is set by the linker.
var version = "v0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubectl kcp-login:", err)
		os.Exit(1)
	}
}

const usage = `Usage:
  kubectl kcp-login URL [flags]     log in to the workspace at URL
  kubectl kcp-login whoami [flags]  show who you are in the current context's workspace
  kubectl kcp-login logout [flags]  delete the tokens of the current context

URL is https://HOST/clusters/WORKSPACE, or https://HOST to log in at the operator's issuers.

`

// program is the state that all commands share.
type program struct {
	in       *bufio.Reader
	out, err io.Writer
	trust    *trust.Store
	tokens   *tokencache.Cache
	flags    flags
}

// flags are the flags of all commands.
type flags struct {
	ca, issuer, exec, kubeconfig, context string
	listen                                []string
	device, noBrowser, print, forget, all bool
	login                                 string // for get-token
	help, version                         bool
}

func (f *flags) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("kubectl kcp-login", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&f.ca, "certificate-authority", "", "PEM file with the CA that verifies the server. Empty means the system's CAs.")
	fs.StringVar(&f.issuer, "issuer", "", "URL or name of the issuer to log in at, if there are several. Empty means that the plugin asks.")
	fs.BoolVar(&f.device, "device", false, "Log in with a browser on another device.")
	fs.BoolVar(&f.noBrowser, "no-browser", false, "Print the address of the page to open on this machine instead of opening it.")
	fs.StringSliceVar(&f.listen, "listen-address", nil, "Loopback addresses on which to wait for the browser; the first free one is used. Empty means 127.0.0.1:8000, 127.0.0.1:18000, then any port.")
	fs.StringVar(&f.exec, "exec", execSelf, "Program that kubectl runs to get tokens: "+execSelf+", or "+execKubelogin+".")
	fs.BoolVar(&f.print, "print", false, "Print the kubeconfig instead of writing it.")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "Kubeconfig to use. Empty means $KUBECONFIG, or ~/.kube/config.")
	fs.StringVar(&f.context, "context", "", "Context to write, or to use for whoami and logout. Empty means WORKSPACE@HOST, or the current one.")
	fs.BoolVar(&f.forget, "forget", false, "With logout: also forget that you trusted the issuer for this server.")
	fs.BoolVar(&f.all, "all", false, "With logout: for all servers.")
	fs.StringVar(&f.login, "login", "", "")
	_ = fs.MarkHidden("login")
	fs.BoolVar(&f.version, "version", false, "Print the version and exit.")
	fs.BoolVarP(&f.help, "help", "h", false, "Print this help and exit.")
	return fs
}

// run runs the program. It writes what the command is for to out, and messages for the
// user to errOut.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) error {
	p := &program{in: bufio.NewReader(in), out: out, err: errOut}
	fs := p.flags.set()
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%w; see --help", err)
	}
	switch {
	case p.flags.help || len(args) == 0:
		_, err := fmt.Fprint(out, usage+"Flags:\n"+fs.FlagUsages())
		return err
	case p.flags.version:
		_, err := fmt.Fprintln(out, version)
		return err
	case fs.NArg() != 1:
		return errors.New("give one URL or one command; see --help")
	}
	if err := p.open(); err != nil {
		return err
	}
	switch command := fs.Arg(0); command {
	case "get-token":
		return p.getToken(ctx)
	case "whoami":
		return p.whoami(ctx)
	case "logout":
		return p.logout(ctx)
	default:
		return p.login(ctx, command)
	}
}

// homeVariable is the environment variable for the directory of logins.
const homeVariable = "KCP_LOGIN_HOME"

// open creates the private directories.
func (p *program) open() error {
	home := os.Getenv(homeVariable)
	if home == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return fmt.Errorf("find a directory for logins (set %s): %w", homeVariable, err)
		}
		home = filepath.Join(config, "kcp-login")
	}
	tokens := filepath.Join(home, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil { //nolint:gosec // the user names it
		return fmt.Errorf("make the directory for logins: %w", err)
	}
	p.trust, p.tokens = trust.NewStore(home), tokencache.New(tokens)
	return nil
}

// say prints a message for the user.
func (p *program) say(format string, args ...any) { _, _ = fmt.Fprintf(p.err, format, args...) }
