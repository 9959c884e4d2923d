package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// unrouted says for operators why a request gets no further than d, and what to do about it.
// Clients are told status.
func (p *Proxy) unrouted(d *destination.Destination, status *metav1.Status) (answer, next string) {
	if d.Pattern == "" && d.ClusterPath == "" && status.Code == http.StatusNotFound {
		return "no entry of the mapping file has the path", "add an entry to the file of --mapping-file"
	}
	if d.ClusterPath == "" || p.config.Routing.Index == nil {
		return status.Message, ""
	}
	if lookup.ValidateClusterPath(d.ClusterPath) != nil {
		return fmt.Sprintf("%q names no workspace: wildcards and system clusters are served to nobody, and all else is not the path of one", d.ClusterPath), "check the path"
	}
	switch _, err := p.config.Routing.Index.Lookup(d.ClusterPath); {
	case errors.Is(err, index.ErrUnknown):
		return p.missing(d.ClusterPath), "check the path; clients get the same answer for a workspace that they may not enter, and a new one is not known before it is scheduled"
	case errors.Is(err, index.ErrNotSynced):
		return p.missing(d.ClusterPath) + " on the shards that have been read, and others have not: " + strings.Join(p.unread(), "; "), "see the watches in /statusz"
	case errors.Is(err, index.ErrUnavailable):
		return status.Message, "see the phase and the conditions of the workspace, and of those above it, with kubectl get workspaces in their parents"
	}
	return status.Message, ""
}

// missing says which part of a path does not exist.
func (p *Proxy) missing(path string) string {
	for parent := path; ; {
		i := strings.LastIndexByte(parent, ':')
		if i < 0 {
			return fmt.Sprintf("there is no logical cluster %s", parent)
		}
		name, _, _ := strings.Cut(path[i+1:], ":")
		parent = parent[:i]
		switch t, err := p.config.Routing.Index.Lookup(parent); {
		case err == nil && t.Mount != nil:
			return parent + " is a mount, below which the proxy knows no workspace " + name
		case err == nil:
			return parent + " has no workspace " + name
		}
	}
}

// unread are the shards that have not been read yet, each with the last failure.
func (p *Proxy) unread() []string {
	if p.config.ShardStatus == nil {
		return nil
	}
	all := p.config.ShardStatus()
	if !all.Root.Synced {
		return []string{"root, which lists them: " + all.Root.Error}
	}
	var unread []string
	for i := range all.Shards {
		if s := &all.Shards[i]; !s.Synced {
			unread = append(unread, s.Name+": "+lastFailure(s))
		}
	}
	return unread
}

// lastFailure is why a shard cannot be read; empty: nothing has failed.
func lastFailure(s *shards.ShardStatus) string {
	for _, w := range s.Watches {
		if w.State == shards.Failed {
			return w.Error
		}
	}
	return s.Reason
}

// reachTimeout bounds the request that finds out whether a server can be reached.
const reachTimeout = 5 * time.Second

// explainForwarding adds to the explanation of an admitted request what keeps it from being
// served at d.
func (p *Proxy) explainForwarding(ctx context.Context, e *zpages.Explanation, d *destination.Destination) {
	if d.Kind == destination.MountedHost {
		return
	}
	failing := p.failing(d.Shard).Truncate(time.Second)
	if err := reach(ctx, d); err != nil {
		e.Code, e.Outcome = http.StatusServiceUnavailable, "admitted, but unreachable"
		e.Answer = fmt.Sprintf("admitted, but %s cannot be reached: %s", serverName(d), cause(err))
		if failing > 0 {
			e.Answer = fmt.Sprintf("admitted, but %s has been unreachable for %v: %s", serverName(d), failing, cause(err))
		}
		e.Next = "see whether the server runs at " + d.Base.Host + ", and whether backend_server_ca in the mapping file has the CA of its certificate"
		return
	}
	if at := p.rejections.last(d.Name(), p.config.Now()); !at.IsZero() {
		e.Answer = fmt.Sprintf("admitted, but %s does not believe the proxy's certificate: %v ago it refused a user whom the proxy had admitted", serverName(d), p.config.Now().Sub(at).Truncate(time.Second))
		e.Next = "compare proxy_client_cert in the mapping file with the server's --requestheader-client-ca-file and --requestheader-allowed-names; /statusz has its expiry"
		return
	}
	if failing > 0 {
		e.Notes = append(e.Notes, fmt.Sprintf("the proxy has not been able to watch %s for %v, so what it knows of workspaces there is old; see the watches in /statusz", serverName(d), failing))
	}
}

// serverName is the shard's name, or what clients may know of another server.
func serverName(d *destination.Destination) string {
	if d.Kind == destination.Shard {
		return d.Shard
	}
	return d.Name()
}

// reach asks the server at d for its health, over the connections that requests take, and
// without a user. Any answer will do.
func reach(ctx context.Context, d *destination.Destination) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	health := url.URL{Scheme: d.Base.Scheme, Host: d.Base.Host, Path: "/livez"}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, health.String(), nil)
	if err != nil {
		return err
	}
	resp, err := d.Transport.RoundTrip(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// cause is the text of the system's error in err, if there is one, else of err.
func cause(err error) string {
	var system syscall.Errno
	switch {
	case errors.As(err, &system):
		return system.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", reachTimeout)
	}
	return err.Error()
}
