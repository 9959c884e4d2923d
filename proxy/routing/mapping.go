package routing

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"frontproxy/internal/certs"
	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/upstream"
)

// Mapping is one entry of the mapping file, validated. Immutable.
type Mapping struct {
	// Path is the pattern as written; it matches itself and all below it.
	Path string
	// Shards says that requests go to the shard of the cluster they name
	// instead of to Backend: the entry "/clusters/".
	Shards bool
	// Backend is https and has a host; its path, if any, goes before the
	// request's and has no slash at its end. Nil only when Shards.
	Backend *url.URL
	// PassThrough leaves authentication to the backend: the request goes on with
	// its credentials, and without identity headers.
	PassThrough bool

	tls         upstream.Files
	credentials *upstream.Credentials // tls as read
	headers     *identityheaders.Headers
	pattern     []string // segments; "{name}" matches any one segment
	line        int
	index       int // of the entry, from 1
}

// Mappings is a mapping file, ready to route by. Immutable.
type Mappings struct {
	// entries are in the order they are tried: more specific ones first.
	entries []*Mapping
	shards  bool // there is an entry for /clusters/
	data    []byte
	// warnings are for the operator; none prevents a start
	warnings []string
}

// The keys of an entry. All values are strings.
const (
	keyPath       = "path"
	keyBackend    = "backend"
	keyCA         = upstream.KeyCA
	keyCert       = upstream.KeyCert
	keyKey        = upstream.KeyKey
	keyUser       = "user_header"
	keyGroup      = "group_header"
	keyExtra      = "extra_header_prefix"
	keyUID        = "uid_header"     // unknown to kcp
	keyAuth       = "authentication" // unknown to kcp: "pass-through"
	passThrough   = "pass-through"
	shardsPattern = "/clusters/"
)

var keys = []string{keyPath, keyBackend, keyCA, keyCert, keyKey, keyUser, keyGroup, keyExtra, keyUID, keyAuth}

// LoadMappings reads a mapping file's content, as kcp-front-proxy's reader does.
// Name is what errors call the file; readFile reads the TLS files it names. The
// error has everything that is wrong, each with entry, line and field.
func LoadMappings(name string, data []byte, readFile func(string) ([]byte, error)) (*Mappings, error) {
	entries, err := readEntries(data, keys)
	switch {
	case err != nil:
		return nil, fmt.Errorf("mapping file %s: %w", name, err)
	case len(entries) == 0:
		return nil, fmt.Errorf("mapping file %s: must be a YAML list of entries with %s and %s, and have at least one", name, keyPath, keyBackend)
	}
	m := &Mappings{data: data}
	var errs []error
	for _, e := range entries {
		mapping := e.load(readFile)
		for _, err := range e.errs {
			errs = append(errs, fmt.Errorf("mapping file %s: %s: %w", name, e.name(), err))
		}
		for _, warning := range e.warnings {
			m.warnings = append(m.warnings, fmt.Sprintf("mapping file %s: %s: %s", name, e.name(), warning))
		}
		if len(e.errs) == 0 {
			m.entries = append(m.entries, mapping)
		}
	}
	for _, err := range m.order() {
		errs = append(errs, fmt.Errorf("mapping file %s: %w", name, err))
	}
	for _, e := range m.entries {
		for _, other := range m.entries {
			e.headers.AlsoClear(other.headers)
		}
	}
	return m, errors.Join(errs...)
}

// Warnings are about keys in the file that have no effect, each with entry and line.
func (m *Mappings) Warnings() []string { return m.warnings }

// Unserved says which requests of kcp's clients do not get where they should, because no entry
// has their path: the proxy is ready all the same. Empty: there are none.
func (m *Mappings) Unserved() []string {
	var all []string
	switch e := m.entryOf("/clusters/root/api"); {
	case e == nil:
		all = append(all, "no entry has the path "+shardsPattern+": every request for a workspace gets 404, and the proxy is ready all the same")
	case !m.shards:
		all = append(all, "no entry has the path "+shardsPattern+": requests for workspaces go to the backend of "+e.name()+", whatever their shard")
	}
	if m.entryOf("/services/apiexport/root/x") == nil {
		all = append(all, "no entry has the path /services/: requests for virtual workspaces, as controllers of APIExports and workspaces send them, get 404")
	}
	return all
}

// entryOf returns the entry of a path that has one reading; nil: there is none.
func (m *Mappings) entryOf(path string) *Mapping {
	e, _ := m.find(path)
	return e
}

// entry is an entry being read, of this file or of one like it.
type entry struct {
	index, line int
	keys        []string // that it may have; the first is what it is called by
	fields      map[string]string
	unread      bool // its fields are not known
	errs        []error
	warnings    []string
}

func (e *entry) name() string {
	return fmt.Sprintf("entry %d (%s %q, line %d)", e.index, e.keys[0], e.fields[e.keys[0]], e.line)
}

func (e *entry) fail(format string, args ...any) {
	e.errs = append(e.errs, fmt.Errorf(format, args...))
}

func (e *entry) warn(format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
}

func (e *entry) load(readFile func(string) ([]byte, error)) *Mapping {
	if e.unread {
		return nil
	}
	m := &Mapping{Path: e.fields[keyPath], line: e.line, index: e.index}
	m.Shards = m.Path == shardsPattern
	m.pattern = e.pattern()
	if !m.Shards || e.fields[keyBackend] != "" { // the shards' entry needs none
		m.Backend = e.url(keyBackend)
	}
	m.headers = e.headers()
	switch v := e.fields[keyAuth]; v {
	case "":
	case passThrough:
		m.PassThrough = true
	default:
		e.fail("%s: unknown value %q; remove it, or write %q to let the backend authenticate clients", keyAuth, v, passThrough)
	}
	m.tls = e.files()
	m.credentials = e.tls(m.tls, m.PassThrough, readFile)
	return m
}

// pattern splits the path into segments.
func (e *entry) pattern() []string {
	path := e.fields[keyPath]
	if !strings.HasPrefix(path, "/") {
		e.fail("%s: must begin with a slash, as in /services/", keyPath)
		return nil
	}
	if path == shardsPattern {
		return []string{"clusters", "{cluster}"}
	}
	path = strings.TrimRight(path, "/")
	if path == "" {
		return nil
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		name, placeholder := strings.CutPrefix(s, "{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case s == "" || s == "." || s == "..":
			e.fail("%s: has an empty or dot segment, which no request can match", keyPath)
		case placeholder != closed || strings.ContainsAny(name, "{}"):
			e.fail("%s: segment %q: a placeholder must be a whole segment, as in /{cluster}/", keyPath, s)
		case placeholder && (name == "" || strings.ContainsFunc(name, notIdentifier)):
			e.fail("%s: segment %q: a placeholder's name may have only letters, digits and underscores; an entry matches everything below its path anyway", keyPath, s)
		case placeholder && slices.Contains(segments[:i], s):
			e.fail("%s: placeholder %s occurs twice; rename one", keyPath, s)
		case strings.ContainsAny(s, "%\\?#") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			e.fail("%s: segment %q: write it decoded and without special characters", keyPath, s)
		}
	}
	return segments
}

func notIdentifier(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// url parses the URL of requests' new destination.
func (e *entry) url(key string) *url.URL {
	s := e.fields[key]
	u, err := url.Parse(s)
	switch {
	case s == "":
		e.fail("%s is missing: the https URL that requests go to", key)
	case err != nil:
		e.fail("%s: %w", key, err)
	case u.Scheme == "http" && u.Host != "":
		e.fail("%s: %q is not encrypted: anybody on the network path could read and change identities and credentials, and the server could not tell the proxy from other clients; kcp-front-proxy accepts it, this proxy needs https", key, redactedURL(u))
	case u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		e.fail("%s: %q must be https and have a host, as in https://host:6443", key, s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		e.fail("%s: %q cannot have a user, query or fragment; remove it", key, redactedURL(u))
	default:
		trimmed := *u
		trimmed.RawPath = ""
		trimmed.Path = strings.TrimRight(u.Path, "/")
		return &trimmed
	}
	return nil
}

// redactedURL is u without what may be secret in it.
func redactedURL(u *url.URL) string {
	plain := *u
	plain.User, plain.RawQuery, plain.Fragment = nil, "", ""
	return plain.String()
}

// headers reads the header names; empty ones mean the defaults.
func (e *entry) headers() *identityheaders.Headers {
	name := func(key, normal string) string {
		s := e.fields[key]
		if s == "" {
			return normal
		}
		if !httpguts.ValidHeaderFieldName(s) {
			e.fail("%s: %q is not a header name; usual is %s", key, s, normal)
		} else if identityheaders.Reserved(s) {
			e.fail("%s: %q already has another meaning; usual is %s", key, s, normal)
		}
		return s
	}
	user, group, extra := name(keyUser, identityheaders.DefaultUser), name(keyGroup, identityheaders.DefaultGroup), name(keyExtra, identityheaders.DefaultExtra)
	uid := ""
	if e.fields[keyUID] != "" {
		uid = name(keyUID, identityheaders.DefaultUID)
	}
	set := []struct{ key, value string }{{keyUser, user}, {keyGroup, group}, {keyUID, uid}}
	for i, a := range set {
		if a.value == "" {
			continue
		}
		if identityheaders.HasPrefix(a.value, extra) {
			e.fail("%s: %q begins with %s %q, so a shard would read it as an extra; choose another name", a.key, a.value, keyExtra, extra)
		}
		for _, b := range set[:i] {
			if b.value != "" && identityheaders.Same(a.value, b.value) {
				e.fail("%s and %s are the same header %q; choose another name", b.key, a.key, a.value)
			}
		}
	}
	return identityheaders.New(user, group, extra, uid)
}

// files are the TLS files that the entry names. Relative names are relative to the working
// directory, as in kcp-front-proxy.
func (e *entry) files() upstream.Files {
	absolute := func(key string) string {
		name := e.fields[key]
		if abs, err := filepath.Abs(name); name != "" && err == nil {
			return abs
		}
		return name
	}
	return upstream.Files{CA: absolute(keyCA), Cert: absolute(keyCert), Key: absolute(keyKey)}
}

// tls reads the TLS files. Only an entry whose destination gets no identity may omit
// the client certificate.
func (e *entry) tls(files upstream.Files, optional bool, readFile func(string) ([]byte, error)) *upstream.Credentials {
	m, errs := upstream.ReadCredentials(files, optional, readFile)
	e.errs = append(e.errs, errs...)
	return m
}

// Certificates returns the certificates of the entries, each TLS identity once.
func (m *Mappings) Certificates() []certs.Source {
	var all []certs.Source
	seen := map[upstream.Files]bool{}
	for _, e := range m.entries {
		if seen[e.tls] {
			continue
		}
		seen[e.tls] = true
		source := fmt.Sprintf("mapping-file %s (line %d)", e.Path, e.line)
		all = append(all, certs.Source{Role: "client", Source: source, PEM: func() []byte { return e.credentials.CertPEM }}, certs.Source{Role: "backend-ca", Source: source, PEM: func() []byte { return e.credentials.CAPEM }})
	}
	return all
}
