package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"frontproxy/internal/kubeconfig"
)

const shadowUsage = `Shadow sends the same read-only requests to two proxies, the one in use (the
incumbent) and its intended replacement (the candidate), and reports every
difference in status, body or identity. It changes nothing: it sends GETs and,
to learn which identity each proxy decides, SelfSubjectReviews, which store
nothing.

  front-proxy shadow --incumbent=https://old:6443 --candidate=https://new:6443 \
      --kubeconfig=admin.kubeconfig --kubeconfig=alice.kubeconfig \
      --paths-file=paths.txt

It requests each path with each credential (every --kubeconfig, and none with
--anonymous). Paths come from --paths-file, one per line (- is standard input),
or from the GETs in --audit-log, the JSON lines of an API server's audit log. It
does not compare what changes by itself: resource versions, managed fields,
times of conditions and leases, the order of list items, the ID of a refusal.

It exits with 0 when there is no difference, 1 when there is any or a proxy
could not be asked, 2 when the command line cannot be read.
`

type shadowOptions struct {
	incumbent, candidate       string
	kubeconfigs                []string
	anonymous                  bool
	caFile                     string
	pathsFile, auditLog        string
	sample, limit              int
	ignore                     []string
	incumbentTLS, candidateTLS string
	clientOptions
}

func (o *shadowOptions) flags(fs *pflag.FlagSet) {
	o.clientOptions.flags(fs, 30*time.Second)
	fs.StringVar(&o.incumbent, "incumbent", "", "Required. https://host:port of the proxy in use.")
	fs.StringVar(&o.candidate, "candidate", "", "Required. https://host:port of the proxy that is to replace --incumbent.")
	fs.StringArrayVar(&o.kubeconfigs, "kubeconfig", nil, "Kubeconfig whose current context has the user for the requests. Its server is ignored. May be repeated.")
	fs.BoolVar(&o.anonymous, "anonymous", false, "Also send each request without a credential.")
	fs.StringVar(&o.caFile, "ca-file", "", "PEM bundle that verifies both proxies. Empty means the kubeconfig's.")
	fs.StringVar(&o.incumbentTLS, "incumbent-tls-server-name", "", "Name to expect in the incumbent's certificate.")
	fs.StringVar(&o.candidateTLS, "candidate-tls-server-name", "", "Name to expect in the candidate's certificate.")
	fs.StringVar(&o.pathsFile, "paths-file", "", "File of paths with their queries, one per line; # begins a comment; - is standard input.")
	fs.StringVar(&o.auditLog, "audit-log", "", "Audit log from which to take the read requests.")
	fs.IntVar(&o.sample, "sample", 1, "Use one in this many requests.")
	fs.IntVar(&o.limit, "limit", 1000, "Maximum number of different requests.")
	fs.StringSliceVar(&o.ignore, "ignore-field", nil, "Names of additional JSON fields to ignore, comma-separated.")
}

func (o *shadowOptions) validate(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case !strings.HasPrefix(o.incumbent, "https://") || !strings.HasPrefix(o.candidate, "https://"):
		return errors.New("--incumbent and --candidate are required, as in https://host:6443")
	case (o.pathsFile == "") == (o.auditLog == ""):
		return errors.New("one of --paths-file and --audit-log is required")
	case len(o.kubeconfigs) == 0 && !o.anonymous:
		return errors.New("no credentials: set --kubeconfig or --anonymous")
	case o.sample < 1 || o.limit < 1:
		return errors.New("--sample and --limit must be at least 1")
	}
	return checkOutput(o.output)
}

// ShadowReport is the result of shadow.
type ShadowReport struct {
	Requests    int          `json:"requests"`
	Differences []Difference `json:"differences"`
}

// Difference is a request to which the proxies respond differently.
type Difference struct {
	As        string `json:"as"`
	Path      string `json:"path"`
	What      string `json:"what"`
	Incumbent string `json:"incumbent"`
	Candidate string `json:"candidate"`
}

func newShadowCommand() *cobra.Command {
	o := &shadowOptions{}
	c := &cobra.Command{
		Use: "shadow --incumbent=… --candidate=… [flags]", Short: "Compare the responses of two proxies", Long: shadowUsage,
		Args: func(c *cobra.Command, args []string) error { return usageError(c, o.validate(args)) },
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.OutOrStdout()) },
	}
	o.flags(c.Flags())
	completeOutput(c)
	return c
}

// run compares the proxies and prints the report.
func (o *shadowOptions) run(ctx context.Context, stdout io.Writer) error {
	paths, err := o.paths()
	if err != nil {
		return fmt.Errorf("shadow: %w", err)
	}
	callers, err := o.callers()
	if err != nil {
		return fmt.Errorf("shadow: %w", err)
	}
	report := o.compare(ctx, callers, paths)
	if err := render(stdout, o.output, report, report.text); err != nil {
		return err
	}
	if len(report.Differences) > 0 {
		return &exitError{code: 1}
	}
	return ctx.Err()
}

func (r *ShadowReport) text(w io.Writer) {
	say := printTo(w)
	for _, d := range r.Differences {
		say("%s as %s: %s differs", d.Path, d.As, d.What)
		say("  incumbent: %s", d.Incumbent)
		say("  candidate: %s", d.Candidate)
	}
	say("%d requests, %d differences", r.Requests, len(r.Differences))
}

// caller is a credential, with a client for each proxy.
type caller struct {
	name                 string
	incumbent, candidate *http.Client
}

func (o *shadowOptions) callers() ([]caller, error) {
	var all []caller
	anonymous := &rest.Config{}
	for n, file := range o.kubeconfigs {
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: file}, nil).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig %s: %w", file, kubeconfig.LoadError(file, err))
		}
		c, err := o.caller(file, config)
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig %s: %w", file, err)
		}
		all = append(all, c)
		if n == 0 { // for its CA
			anonymous = rest.AnonymousClientConfig(config)
		}
	}
	if !o.anonymous {
		return all, nil
	}
	c, err := o.caller("nobody", anonymous)
	return append(all, c), err
}

func (o *shadowOptions) caller(name string, config *rest.Config) (c caller, err error) {
	c.name = name
	if c.incumbent, err = o.client(config, o.incumbent, o.incumbentTLS); err != nil {
		return c, err
	}
	c.candidate, err = o.client(config, o.candidate, o.candidateTLS)
	return c, err
}

// client returns a client for one of the two proxies; each response may take
// --timeout.
func (o *shadowOptions) client(config *rest.Config, server, tlsName string) (*http.Client, error) {
	config = rest.CopyConfig(config)
	config.Host, config.Timeout = server, o.timeout
	if tlsName != "" {
		config.ServerName = tlsName
	}
	if o.caFile != "" {
		config.CAFile, config.CAData = o.caFile, nil
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = noRedirect
	return client, nil
}

// paths returns the different requests to send, sampled.
func (o *shadowOptions) paths() ([]string, error) {
	name, read := o.pathsFile, pathOfLine
	if o.auditLog != "" {
		name, read = o.auditLog, pathOfEvent
	}
	in := os.Stdin
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the user's file
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	var paths []string
	seen, n := sets.New[string](), 0
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxInput)
	for line := 1; lines.Scan() && len(paths) < o.limit; line++ {
		path, err := read(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, line, err)
		}
		if path == "" || seen.Has(path) || stream.MatchString(path) {
			continue
		}
		seen.Insert(path)
		if n++; (n-1)%o.sample == 0 {
			paths = append(paths, path)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s contains no request to compare", name)
	}
	return paths, nil
}

func pathOfLine(line []byte) (string, error) {
	text := strings.TrimSpace(string(line))
	if text == "" || text[0] == '#' {
		return "", nil
	}
	if text[0] != '/' {
		return "", fmt.Errorf("%q is not a path: it must begin with a slash", text)
	}
	return text, nil
}

// pathOfEvent returns the path of a completed read in an audit log.
func pathOfEvent(line []byte) (string, error) {
	var e struct {
		Stage, Verb, RequestURI string
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return "", errors.New("is not an audit event in JSON")
	}
	if e.Stage != "ResponseComplete" || e.Verb != "get" && e.Verb != "list" || !strings.HasPrefix(e.RequestURI, "/") {
		return "", nil
	}
	return e.RequestURI, nil
}

// stream matches a GET that opens a stream, and so has no end or has an effect.
var stream = regexp.MustCompile(`^[^?]*(/watch/|/(exec|attach|portforward|proxy)(/|\?|$))|\?.*(watch|follow)=`)

// compare sends each request to both proxies, one at a time. It asks for the identity
// once for each workspace in the paths.
func (o *shadowOptions) compare(ctx context.Context, callers []caller, paths []string) *ShadowReport {
	r := &ShadowReport{Differences: []Difference{}}
	ignored := sets.New("resourceVersion", "managedFields", "lastTransitionTime", "lastHeartbeatTime", "lastProbeTime", "lastUpdateTime", "renewTime", "continue", "remainingItemCount")
	ignored.Insert(o.ignore...)
	for _, c := range callers {
		asked := sets.New[string]()
		for _, path := range paths {
			if ctx.Err() != nil {
				return r
			}
			if ws := workspaceOf(path); ws != "" && !asked.Has(ws) {
				asked.Insert(ws)
				o.compareOne(ctx, r, c, http.MethodPost, ws+selfReview, ignored)
			}
			o.compareOne(ctx, r, c, http.MethodGet, path, ignored)
		}
	}
	return r
}

const (
	selfReview     = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	selfReviewBody = `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`
)

// workspaceOf returns the part of a path that names the workspace.
func workspaceOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/clusters/")
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, "?")
	if !ok || name == "" || name == "*" {
		return ""
	}
	return "/clusters/" + name
}

// shadowAnswer is the part of a response that is compared.
type shadowAnswer struct{ code, body string }

func (o *shadowOptions) compareOne(ctx context.Context, r *ShadowReport, c caller, method, path string, ignored sets.Set[string]) {
	r.Requests++
	old, oldErr := get(ctx, c.incumbent, method, o.incumbent+path, ignored)
	changed, newErr := get(ctx, c.candidate, method, o.candidate+path, ignored)
	differ := func(what, a, b string) {
		r.Differences = append(r.Differences, Difference{c.name, path, what, a, b})
	}
	what := "body"
	if method == http.MethodPost {
		what = "identity"
	}
	switch {
	case oldErr != nil || newErr != nil:
		if ctx.Err() == nil {
			differ("answer", cmp.Or(errorText(oldErr), old.code), cmp.Or(errorText(newErr), changed.code))
		}
	case old.code != changed.code:
		differ("status", old.code+" "+shown(path, old.body, 0), changed.code+" "+shown(path, changed.body, 0))
	case old.body != changed.body:
		at := firstDifference(old.body, changed.body)
		differ(what, shown(path, old.body, at), shown(path, changed.body, at))
	}
}

// shown returns what the report shows of a body: nothing for Secrets.
func shown(path, body string, at int) string {
	if strings.Contains(body, `"kind":"Secret`) || strings.Contains(path, "/secrets") && !strings.Contains(body, `"kind":"Status"`) {
		return "(of Secrets: not shown)"
	}
	return excerpt(body, at)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return "no answer: " + err.Error()
}

// maxAnswer limits how many bytes of a response are read.
const maxAnswer = 32 << 20

func get(ctx context.Context, client *http.Client, method, url string, ignored sets.Set[string]) (shadowAnswer, error) {
	var body []byte
	if method == http.MethodPost {
		body = []byte(selfReviewBody)
	}
	a, err := send(ctx, client, method, url, "application/json", body, maxAnswer)
	if err != nil {
		return shadowAnswer{}, err
	}
	return shadowAnswer{a.status, normal(a.body, ignored)}, nil
}

// normal returns a body without the parts that differ between any two responses.
func normal(body []byte, ignored sets.Set[string]) string {
	var v any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if decoder.Decode(&v) != nil {
		return string(body)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return string(body) // such as a plain "404 page not found"
	}
	text, err := json.Marshal(normalValue(v, ignored)) // sorts keys
	if err != nil {
		return string(body)
	}
	return string(text)
}

func normalValue(v any, ignored sets.Set[string]) any {
	switch v := v.(type) {
	case map[string]any:
		if v["kind"] == "Status" {
			if details, ok := v["details"].(map[string]any); ok {
				delete(details, "uid") // the ID of a refusal
				delete(details, "retryAfterSeconds")
				if len(details) == 0 {
					delete(v, "details")
				}
			}
			if metadata, ok := v["metadata"].(map[string]any); ok && len(metadata) == 0 {
				delete(v, "metadata")
			}
		}
		if v["kind"] == "SelfSubjectReview" {
			delete(v, "metadata") // it is new in each response
		}
		for key, value := range v {
			if ignored.Has(key) {
				delete(v, key)
				continue
			}
			v[key] = normalValue(value, ignored)
			if list, ok := v[key].([]any); ok && (key == "items" || key == "groups") {
				sortByText(list)
			}
		}
	case []any:
		for i := range v {
			v[i] = normalValue(v[i], ignored)
		}
	}
	return v
}

func sortByText(list []any) {
	text := func(v any) string {
		b, _ := json.Marshal(v) // it was decoded from JSON
		return string(b)
	}
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(a), text(b)) })
}

func firstDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// excerpt returns the text around a position, limited in length.
func excerpt(s string, at int) string {
	const before, size = 40, 160
	from := max(0, at-before)
	to := min(len(s), from+size)
	out := strings.ToValidUTF8(s[from:to], "")
	if from > 0 {
		out = "…" + out
	}
	if to < len(s) {
		out += "…"
	}
	return out
}
