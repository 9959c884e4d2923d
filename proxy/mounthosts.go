package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn"
	"frontproxy/internal/egress"
	"frontproxy/internal/filewatch"
	"frontproxy/lookup"
)

// keyURL begins an entry of the mount hosts file; the other keys are those of
// the mapping file, for what they name is the same.
const keyURL = "url"

var mountHostKeys = []string{keyURL, keyCA, keyCert, keyKey, keyUser, keyGroup, keyExtra, keyUID}

// MountHosts are the hosts, outside of kcp, that workspaces may mount and that
// the operator vouches for: each with a CA, and, if the host may be told who is
// calling, a client certificate that proves to it that it is us who tells.
//
// The list is a YAML file, followed while Run runs, as are the files it names. A
// list that can't be used changes nothing. A nil *MountHosts has no hosts.
type MountHosts struct {
	file string
	log  klog.Logger

	hosts atomic.Pointer[[]*mountHost] // longest path first; nil until it was read

	outcome filewatch.Outcome
	reading sync.Mutex // serialises Reload
}

// mountHost is one entry. Immutable but for its upstream's TLS material.
type mountHost struct {
	url      *url.URL
	name     string // in errors
	headers  *identityHeaders
	upstream *upstream
}

// vouches says whether the host is told who is calling.
func (h *mountHost) vouches() bool { return h.upstream.files.cert != "" }

// NewMountHosts reads the file of --mount-hosts-file.
func NewMountHosts(file string, log klog.Logger) (*MountHosts, error) {
	h := &MountHosts{file: file, log: log}
	return h, h.Reload()
}

// Run follows the files, and looks after the connections to the hosts, until ctx
// ends.
func (h *MountHosts) Run(ctx context.Context) error {
	running := newUpstreamRuns(func(ctx context.Context, u *upstream) { u.pulse.run(ctx) }) // Reload has their files
	defer running.end()
	running.follow(ctx, h.upstreams())
	filewatch.WatchAll(ctx, clock.RealClock{}, h.log, h.files, func() {
		_ = h.Reload()
		running.follow(ctx, h.upstreams())
	})
	for _, u := range h.upstreams() {
		u.close()
	}
	return nil
}

// upstreams are those of the entries now.
func (h *MountHosts) upstreams() []*upstream {
	var all []*upstream
	for _, host := range *h.hosts.Load() {
		all = append(all, host.upstream)
	}
	return all
}

// files are all that the list now depends on.
func (h *MountHosts) files() []string {
	files := []string{h.file}
	for _, host := range *h.hosts.Load() {
		for _, f := range []string{host.upstream.files.ca, host.upstream.files.cert, host.upstream.files.key} {
			if f != "" {
				files = append(files, f)
			}
		}
	}
	return files
}

// Reload reads the files again. On an error, which it also logs, what was read
// before stays in use.
func (h *MountHosts) Reload() error {
	h.reading.Lock()
	defer h.reading.Unlock()
	err := h.load()
	if h.outcome.Set(err) && h.hosts.Load() != nil {
		h.log.Error(err, "The mount hosts were not reloaded; those read before stay in use")
	}
	return err
}

// LastError is why the last reading of the files failed; nil when it did not.
func (h *MountHosts) LastError() error { return h.outcome.LastError() }

func (h *MountHosts) load() error {
	data, err := os.ReadFile(h.file)
	if err != nil {
		return fmt.Errorf("--mount-hosts-file: %w", err)
	}
	next, err := parseMountHosts(h.file, data, os.ReadFile, h.log)
	if err != nil {
		return err
	}
	var old []*mountHost
	if p := h.hosts.Load(); p != nil {
		old = *p
	}
	kept := map[*upstream]bool{}
	for _, host := range next {
		if u := carriedOn(host, old); u != nil {
			kept[u] = true
			u.use(host.upstream.current.Load().material)
			host.upstream = u
		}
	}
	h.hosts.Store(&next)
	for _, host := range old {
		if !kept[host.upstream] {
			host.upstream.close()
		}
	}
	return nil
}

// carriedOn is the upstream of the entry of old that has host's place and
// files: its connections are as good as new ones.
func carriedOn(host *mountHost, old []*mountHost) *upstream {
	for _, o := range old {
		if *o.url == *host.url && o.upstream.files == host.upstream.files {
			return o.upstream
		}
	}
	return nil
}

// parseMountHosts reads the content of the file called name. The hosts report their
// health to log. The error has everything that is wrong, each with entry, line and field.
func parseMountHosts(name string, data []byte, readFile func(string) ([]byte, error), log klog.Logger) ([]*mountHost, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("mount hosts file %s is no YAML: %w", name, err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("mount hosts file %s: must be a YAML list of entries with %s and %s; write [] for none", name, keyURL, keyCA)
	}
	var hosts []*mountHost
	var errs []error
	for i, node := range doc.Content[0].Content {
		e := entry{index: i + 1, line: node.Line, keys: mountHostKeys, fields: map[string]string{}}
		host := e.loadMountHost(node, readFile, log)
		for _, other := range hosts {
			if host != nil && host.url.Path == other.url.Path && sameHost(host.url, other.url) {
				e.fail("%s is the same as that of %s; remove one", keyURL, other.name)
			}
		}
		for _, err := range e.errs {
			errs = append(errs, fmt.Errorf("mount hosts file %s: %s: %w", name, e.name(), err))
		}
		if len(e.errs) == 0 {
			hosts = append(hosts, host)
		}
	}
	slices.SortStableFunc(hosts, func(a, b *mountHost) int { return len(b.url.EscapedPath()) - len(a.url.EscapedPath()) })
	return hosts, errors.Join(errs...)
}

func (e *entry) loadMountHost(node *yaml.Node, readFile func(string) ([]byte, error), log klog.Logger) *mountHost {
	if !e.read(node) {
		return nil
	}
	u := e.url(keyURL)
	files := tlsFiles{ca: e.fields[keyCA], cert: e.fields[keyCert], key: e.fields[keyKey]}
	m := e.tls(files, true, readFile)
	headers := e.headers()
	if u == nil || len(e.errs) > 0 {
		return nil
	}
	if err := plainPath(u); err != nil {
		e.fail("%s: %w", keyURL, err)
		return nil
	}
	return &mountHost{url: u, name: e.name(), headers: headers, upstream: newUpstream("mount-hosts-file "+u.String(), files, m, egress.LimitTransport, log)}
}

// find returns the entry that a mount's URL is of, the most specific one; nil
// when there is none. A path that could be read as another place than it seems
// to be is of none.
func (h *MountHosts) find(mount *url.URL) *mountHost {
	if h == nil {
		return nil
	}
	for _, host := range *h.hosts.Load() {
		if _, ok := below(mount, host.url); ok && plainPath(mount) == nil {
			return host
		}
	}
	return nil
}

// plainPath says whether all of a URL's path has one reading only.
func plainPath(u *url.URL) error {
	for rest := u.EscapedPath(); rest != "" && rest != "/"; {
		var segment string
		segment, rest = lookup.Segment(rest)
		if _, err := lookup.Plain(segment); err != nil {
			return err
		}
	}
	return nil
}

// Certificates are those of all entries, as they are in use now.
func (h *MountHosts) Certificates() []Certificates {
	if h == nil {
		return nil
	}
	var all []Certificates
	for _, host := range *h.hosts.Load() {
		all = append(all, host.upstream.certificates()...)
	}
	return all
}

// goAbroad chooses the transport to another host. One that is told who is
// calling must be: without, it would take the caller for this proxy.
func (x *exchange) goAbroad() *metav1.Status {
	var to http.RoundTripper = x.p.foreign
	if x.host != nil {
		to = x.host.upstream
	}
	to = egress.LimitAnswers(to)
	if x.host == nil || !x.host.vouches() {
		x.rp.Transport = confined{to}
		return nil
	}
	x.rp.Transport = to
	if x.decision.User == nil {
		return failure(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized: the workspace's mount is for callers who are authenticated here")
	}
	u, err := authn.Abroad(x.decision.User)
	if err != nil {
		return failure(http.StatusForbidden, metav1.StatusReasonForbidden, "the workspace's mount is not for this caller: %v", err)
	}
	x.abroad = u
	return nil
}

// leave makes the outgoing request one to another host.
func (x *exchange) leave(in, out *http.Request) {
	out.Host = x.base.Host
	if x.abroad == nil {
		dropPrivate(out.Header)
	} else {
		dropCredentials(out.Header)
		dropCookies(out.Header)
		x.host.headers.clear(out.Header)
		x.host.headers.set(out.Header, x.abroad)
	}
	out.Header[loopHeader] = append(slices.Clone(in.Header[loopHeader]), loopMark)
}
