package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"frontproxy/proxy/zpages"
)

const explainUsage = `Explain asks a running front-proxy why it refused a request, or what it would
decide about a credential.

  front-proxy explain <id>
      explains a refusal, by the ID that the client was told in the warning and
      in details.uid of the Status. This does not need the client's credential.
  front-proxy explain --path=/clusters/root:org:ws/api --token-file=token.jwt
      explains what the proxy decides about a token on a path; - reads the token
      from standard input. --certificate-file gives a client certificate instead
      (without its key). With neither, the request has no credential.
      --asserted-file gives the user that a proxy or a shard with this
      certificate asserts in X-Remote-* headers.
  front-proxy explain --path=… --token-file=… --dry-run=new.yaml
      does the same as if the WorkspaceAuthenticationConfigurations and
      WorkspaceTypes in the file were applied in the workspace that owns the
      type. Other objects in the file are not used. Nothing is applied.

The proxy is the one of the kubeconfig, or that of --debug-address. Asking needs
get (for --path: post) on the non-resource URL /debug/explain in the workspace
root. Administrators of a workspace may ask for refusals of that workspace:
with --workspace, and a kubeconfig whose server is that workspace.

  front-proxy explain --workspace
      shows the state of the workspace's WorkspaceAuthenticationConfigurations,
      their issuers and keys, and what they refused in the last hour.
      --configuration shows one of them. This needs get on the objects.
  front-proxy explain --workspace --dry-run=new.yaml --token-file=token.jwt
      shows which state the WorkspaceAuthenticationConfigurations in the file
      would have if they were applied there, and what they would decide about
      the token. This needs update on the objects. Nothing is applied.
`

// explainOptions are the flags of explain.
type explainOptions struct {
	connectOptions
	workspace                          bool
	configuration                      string
	path, method                       string
	tokenFile, certificateFile, dryRun string
	assertedFile                       string
}

func (o *explainOptions) flags(fs *pflag.FlagSet) {
	o.connectOptions.flags(fs)
	fs.BoolVar(&o.workspace, "workspace", false, "Ask as an administrator of the workspace in the kubeconfig's server URL.")
	fs.StringVar(&o.configuration, "configuration", "", "With --workspace and no ID: show only this WorkspaceAuthenticationConfiguration.")
	fs.StringVar(&o.path, "path", "", "Path of a request to explain, instead of the ID of a refusal.")
	fs.StringVar(&o.method, "method", http.MethodGet, "Method of that request.")
	fs.StringVar(&o.tokenFile, "token-file", "", "File with the bearer token of that request; - is standard input.")
	fs.StringVar(&o.certificateFile, "certificate-file", "", "PEM file with the client certificate, and its chain, to explain a request with (--path).")
	fs.StringVar(&o.assertedFile, "asserted-file", "", "YAML or JSON file of the UserInfo (username, uid, groups, extra) that the certificate's owner asserts.")
	fs.StringVar(&o.dryRun, "dry-run", "", "YAML or JSON file of objects to treat as applied; - is standard input.")
}

func newExplainCommand() *cobra.Command {
	o := &explainOptions{}
	c := &cobra.Command{
		Use: "explain {<id> | --path=… | --workspace} [flags]", Short: "Explain why a running proxy refuses or admits a request", Long: explainUsage,
		Args:              func(c *cobra.Command, args []string) error { return usageError(c, o.validate(args)) },
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			return o.run(c.Context(), id, c.OutOrStdout())
		},
	}
	o.flags(c.Flags())
	completeOutput(c)
	return c
}

// run asks about the refusal id, or about --path if that is empty, and prints the answer.
func (o *explainOptions) run(ctx context.Context, id string, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	question, ignored, err := o.question()
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	proxy, err := o.client(o.workspace)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if o.workspace && id == "" {
		return o.explainConfigurations(ctx, proxy, question, ignored, stdout)
	}
	e, err := proxy.explain(ctx, id, question)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if len(ignored) > 0 {
		e.Notes = append(e.Notes, notUsed(ignored))
	}
	return render(stdout, o.output, e, func(w io.Writer) { explainText(w, e) })
}

func (o *explainOptions) validate(args []string) error {
	configurations := o.workspace && len(args) == 0 && o.path == ""
	switch {
	case len(args) > 1:
		return fmt.Errorf("only one refusal at a time: unexpected %q", args[1])
	case len(args) == 1 && o.path != "":
		return errors.New("give either the ID of a refusal or --path, not both")
	case o.tokenFile == "-" && o.dryRun == "-":
		return errors.New("--token-file and --dry-run cannot both be standard input")
	case o.workspace && o.debugAddress != "":
		return errors.New("--workspace and --debug-address cannot be combined")
	case o.configuration != "" && (!o.workspace || len(args) > 0 || o.dryRun != ""):
		return errors.New("--configuration needs --workspace, and neither an ID nor --dry-run")
	case configurations && (o.certificateFile != "" || o.assertedFile != ""):
		return errors.New("--certificate-file and --asserted-file need --path: configurations decide about tokens only")
	case configurations && o.tokenFile != "" && o.dryRun == "":
		return errors.New("with --workspace, --token-file needs --dry-run: a token is tried with the objects in a file")
	case configurations:
	case len(args) == 0 && o.path == "":
		return errors.New("give the ID of a refusal, --path or --workspace")
	case o.path == "" && (o.tokenFile != "" || o.certificateFile != "" || o.dryRun != ""):
		return errors.New("--token-file, --certificate-file and --dry-run need --path instead of the ID of a refusal")
	case o.assertedFile != "" && o.certificateFile == "":
		return errors.New("--asserted-file needs --certificate-file: the proxy reads identity headers only from a client with a certificate")
	case o.workspace && o.path != "":
		return errors.New("--workspace is only for refusals: only operators may use --path")
	}
	return checkOutput(o.output)
}

// notUsed names the objects of a file that are not used.
func notUsed(objects []string) string {
	return "not used of the file of --dry-run: " + strings.Join(objects, ", ")
}

// question returns nil if the command asks about a refusal. ignored are the objects of the file of
// --dry-run that are not used.
func (o *explainOptions) question() (q *zpages.ExplainRequest, ignored []string, err error) {
	if o.path == "" && o.dryRun == "" {
		return nil, nil, nil
	}
	q = &zpages.ExplainRequest{Path: o.path, Method: o.method}
	if err := o.credential(q); err != nil {
		return nil, nil, err
	}
	if o.dryRun == "" {
		return q, nil, nil
	}
	text, err := readInput(o.dryRun)
	if err != nil {
		return nil, nil, fmt.Errorf("--dry-run: %w", err)
	}
	if q.Change, ignored, err = readChange(text); err != nil {
		return nil, nil, fmt.Errorf("--dry-run %s: %w", o.dryRun, err)
	}
	return q, ignored, nil
}

// credential reads the credential of the request to explain.
func (o *explainOptions) credential(q *zpages.ExplainRequest) error {
	if o.tokenFile != "" {
		text, err := readInput(o.tokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		if q.Token = strings.TrimSpace(string(text)); q.Token == "" {
			return fmt.Errorf("--token-file %s is empty", o.tokenFile)
		}
	}
	if o.certificateFile != "" {
		text, err := os.ReadFile(o.certificateFile)
		if err != nil {
			return fmt.Errorf("--certificate-file: %w", err)
		}
		if q.Certificates, err = certificatesOnly(text); err != nil {
			return fmt.Errorf("--certificate-file %s: %w", o.certificateFile, err)
		}
	}
	if o.assertedFile != "" {
		text, err := os.ReadFile(o.assertedFile)
		if err != nil {
			return fmt.Errorf("--asserted-file: %w", err)
		}
		if err := yaml.UnmarshalStrict(text, &q.Asserted); err != nil {
			return fmt.Errorf("--asserted-file %s: not a UserInfo: %w", o.assertedFile, err)
		}
	}
	return nil
}

// maxInput bounds, in bytes, what explain reads from standard input, and the lines that shadow
// reads.
const maxInput = 1 << 20

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, maxInput))
	}
	return os.ReadFile(name) //nolint:gosec // the user's file
}

// replicaTries is how often explain asks for a refusal, each time on a new
// connection, until it reaches the replica that has it.
const replicaTries = 12

// explain asks about the refusal id or, unless q is nil, about a request.
func (c *proxyClient) explain(ctx context.Context, id string, q *zpages.ExplainRequest) (*zpages.Explanation, error) {
	e := &zpages.Explanation{}
	if q != nil {
		body, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		return e, c.page(ctx, http.MethodPost, zpages.ExplainPath, body, e)
	}
	var err error
	for range replicaTries {
		err = c.page(ctx, http.MethodGet, zpages.ExplainPath+"/"+url.PathEscape(id), nil, e)
		if apierrors.ReasonForError(err) != zpages.ReasonOtherInstance {
			return e, err
		}
	}
	return nil, fmt.Errorf("%w\n(none of %d tries reached that instance: set --server to it, or use its --debug-address, for example through kubectl port-forward)", err, replicaTries)
}

// page sends one question and decodes the answer, which names its instance, into page.
func (c *proxyClient) page(ctx context.Context, method, path string, body []byte, page any) error {
	text, err := c.do(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	var header struct {
		Instance string `json:"instance"`
	}
	if json.Unmarshal(text, &header) != nil || header.Instance == "" || json.Unmarshal(text, page) != nil {
		return fmt.Errorf("%s is not a front-proxy, or not one that serves explanations", c.base)
	}
	return nil
}
