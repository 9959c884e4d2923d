package proxy

import (
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/routing"
)

// rewrite makes the outgoing request. ReverseProxy has removed the hop-by-hop
// headers by now, so nothing that is set here can be removed again.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	x.dest.SetURL(out.URL, x.dest.Path)
	out.URL.RawQuery = in.URL.RawQuery
	out.Trailer = nil
	if shard := x.dest.Shard; shard != "" {
		x.traffic = x.p.Metrics.Traffic(shard)
	}
	if x.traffic.Sent != nil && out.Body != nil {
		// The transport may read on when the handler has returned.
		out.Body = &countedBody{ReadCloser: out.Body, bytes: x.traffic.Sent}
	}
	restoreForwarding(in, out)
	x.dest.Headers.Clear(out.Header)
	x.p.propagateTrace(out, x.id, &x.dest)
	writeIdentity(out.Header, &x.dest, x.admission)
	if x.dest.Kind == destination.MountedHost {
		out.Host = x.dest.Base.Host
		out.Header[routing.LoopHeader] = append(slices.Clone(in.Header[routing.LoopHeader]), routing.LoopMark)
	}
}

// writeIdentity writes into cleared headers who is asking, as far as the server at d may
// see that.
func writeIdentity(header http.Header, d *destination.Destination, a admission) {
	switch {
	case d.Trust == destination.Untrusted:
		identityheaders.DropPrivate(header)
	case d.Trust == destination.Listed:
		identityheaders.DropCredentials(header)
		identityheaders.DropCookies(header)
		d.HostHeaders.Clear(header)
		d.HostHeaders.Set(header, a.forwardedUser)
	case a.forwardedUser == nil: // the server judges the credentials
	case a.decision.AssertedBy != "":
		identityheaders.DropCredentials(header)
		d.Headers.SetUnchanged(header, a.forwardedUser)
	default:
		identityheaders.DropCredentials(header)
		d.Headers.Set(header, a.forwardedUser)
	}
}

// restoreForwarding puts back what ReverseProxy removed, for shards see these
// headers as a chain of proxies left them, and adds the client's address.
func restoreForwarding(in, out *http.Request) {
	for _, key := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := in.Header[key]; ok {
			out.Header[key] = v
		}
	}
	client, _, err := net.SplitHostPort(in.RemoteAddr)
	if err != nil {
		return
	}
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
		client = strings.Join(prior, ", ") + ", " + client
	}
	out.Header["X-Forwarded-For"] = []string{client}
}
