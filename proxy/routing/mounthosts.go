package routing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/certs"
	"frontproxy/internal/egress"
	"frontproxy/internal/filewatch"
	"frontproxy/lookup"
	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/upstream"
)

// keyURL begins an entry of the mount hosts file. The other keys are the mapping
// file's, with the same meanings.
const keyURL = "url"

var mountHostKeys = []string{keyURL, keyCA, keyCert, keyKey, keyUser, keyGroup, keyExtra, keyUID}

// MountHosts are the hosts outside of kcp that the operator trusts and that workspaces may
// mount. Each has a CA and, if it gets the caller's identity, a client certificate by which it
// knows this proxy.
//
// The list is a YAML file. Run follows it, and the files it names. A list that can't be used
// changes nothing. A nil *MountHosts has no hosts.
type MountHosts struct {
	*filewatch.File[[]*mountHost]               // longest path first
	changed                       chan struct{} // has one when the hosts are others
}

// mountHost is one entry. Immutable but for its upstream's TLS material.
type mountHost struct {
	url      *url.URL
	name     string // in errors
	headers  *identityheaders.Headers
	upstream *upstream.Upstream
}

// hasClientCertificate reports whether this proxy has a certificate for the host. Then the host gets
// the caller's identity, too.
func (h *mountHost) hasClientCertificate() bool { return h.upstream.Files.Cert != "" }

// NewMountHosts reads the file of --mount-hosts-file. A nil clock is the real one.
func NewMountHosts(file string, clk clock.Clock, log klog.Logger) (*MountHosts, error) {
	h := &MountHosts{changed: make(chan struct{}, 1)}
	var last []*mountHost
	load := func(_ context.Context, read filewatch.ReadFunc) ([]*mountHost, error) {
		data, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", mountHostsFlag, err)
		}
		next, err := parseMountHosts(file, data, read, log)
		if err != nil {
			return nil, err
		}
		for _, host := range next {
			if u := reusedUpstream(host, last); u != nil {
				u.Use(host.upstream.Credentials())
				host.upstream = u
			}
		}
		last = next
		return next, nil
	}
	var err error
	h.File, err = filewatch.New(filewatch.Config[[]*mountHost]{Name: mountHostsFlag, Load: load, Use: h.use, Clock: clk, Log: log})
	return h, err
}

// mountHostsFlag is what logs, metrics and /statusz call the mount hosts file.
const mountHostsFlag = "mount-hosts-file"

// Run follows the files, and checks the connections to the hosts, until ctx ends.
func (h *MountHosts) Run(ctx context.Context) error {
	var files sync.WaitGroup
	files.Go(func() { _ = h.File.Run(ctx) })
	upstream.RunAll(ctx, h.upstreams, h.changed)
	files.Wait()
	return nil
}

// upstreams returns the upstreams of the current entries.
func (h *MountHosts) upstreams() []*upstream.Upstream {
	var all []*upstream.Upstream
	for _, host := range h.Get() {
		all = append(all, host.upstream)
	}
	return all
}

// use tells Run of the new hosts.
func (h *MountHosts) use(_, _ []*mountHost) {
	select {
	case h.changed <- struct{}{}:
	default: // Run has not taken the last signal yet
	}
}

// reusedUpstream returns the upstream of the entry of old with the same URL and files as host,
// so that its connections go on; nil: there is none.
func reusedUpstream(host *mountHost, old []*mountHost) *upstream.Upstream {
	for _, o := range old {
		if *o.url == *host.url && o.upstream.Files == host.upstream.Files {
			return o.upstream
		}
	}
	return nil
}

// parseMountHosts reads the content of the file called name. The hosts report their
// health to log. The error has everything that is wrong, each with entry, line and field.
func parseMountHosts(name string, data []byte, readFile func(string) ([]byte, error), log klog.Logger) ([]*mountHost, error) {
	entries, err := readEntries(data, mountHostKeys)
	if err != nil {
		return nil, fmt.Errorf("mount hosts file %s: %w", name, err)
	}
	var hosts []*mountHost
	var errs []error
	for _, e := range entries {
		host := e.loadMountHost(readFile, log)
		for _, warning := range e.warnings { // kcp has no such file to be read alike
			e.fail("%s", warning)
		}
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

func (e *entry) loadMountHost(readFile func(string) ([]byte, error), log klog.Logger) *mountHost {
	if e.unread {
		return nil
	}
	u := e.url(keyURL)
	files := e.files()
	m := e.tls(files, true, readFile)
	headers := e.headers()
	if u == nil || len(e.errs) > 0 {
		return nil
	}
	if err := plainPath(u); err != nil {
		e.fail("%s: %w", keyURL, err)
		return nil
	}
	return &mountHost{url: u, name: e.name(), headers: headers, upstream: upstream.New(mountHostsFlag+" "+u.String(), files, m, true, nil, log)}
}

// find returns the most specific entry whose URL a mount's URL is below; nil when there is
// none, or when the path has more than one reading.
func (h *MountHosts) find(mount *url.URL) *mountHost {
	if h == nil {
		return nil
	}
	for _, host := range h.Get() {
		if _, ok := below(mount, host.url); ok && plainPath(mount) == nil {
			return host
		}
	}
	return nil
}

// plainPath reports whether all of a URL's path has one reading only.
func plainPath(u *url.URL) error {
	for rest := u.EscapedPath(); rest != "" && rest != "/"; {
		var segment string
		segment, rest = lookup.Segment(rest)
		if _, err := lookup.DecodeSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

// Certificates returns the certificates of the current entries.
func (h *MountHosts) Certificates() []certs.Source {
	if h == nil {
		return nil
	}
	var all []certs.Source
	for _, host := range h.Get() {
		all = append(all, host.upstream.Certificates()...)
	}
	return all
}

// transport carries requests to the host. Two entries with the same upstream have the same
// transport.
func (h *mountHost) transport() http.RoundTripper {
	if h.hasClientCertificate() {
		return egress.LimitAnswers(h.upstream)
	}
	return upstream.Untrusted(h.upstream)
}
