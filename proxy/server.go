package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"frontproxy/internal/certs"
)

const (
	// maxHeaderBytes leaves room beyond Kubernetes' 1 MiB, so that a token of
	// that size is answered with 401 and not with 431.
	maxHeaderBytes    = 1<<20 + 64<<10
	readHeaderTimeout = 32 * time.Second
	// maxHello is how many bytes a TLS handshake may begin with: TLS keeps a buffer of that size as long as
	// the connection is open. Clients need two or three KiB.
	maxHello          = 16 << 10
	serverIdleTimeout = 90 * time.Second

	// HTTP/2 settings. defaultStreams is kube-apiserver's.
	defaultStreams = 100
	// clientFrame is the largest frame that a client may send, in bytes. net/http makes a buffer for a
	// frame when it has read the frame's header, and keeps it as long as the connection; so anybody
	// could have each connection take more memory than it counts for (--max-connections). Uploads over
	// HTTP/2 cost some 4% more than with frames of 256 KiB.
	clientFrame = 32 << 10
	// uploadWindow is how much of a body a client may send that the proxy has not read, in bytes;
	// its request is charged for it (memorybudget.go). A smaller window makes large uploads wait.
	uploadWindow = 1 << 20
	// windowShare is what each stream that a connection may have adds to the window of all its
	// streams together, in bytes. Most streams have no body, or a small one.
	windowShare = 256 << 10
)

// Run serves until ctx ends, then drains: /readyz fails at once; after ShutdownDelay
// the listener closes, connections are told to close, and watches and upgrades are
// ended at random moments; what still runs at ShutdownTimeout is cut. It returns nil
// after a drain, and owns everything that it starts.
func (p *Proxy) Run(ctx context.Context) error {
	if p.config.Server.Serving == nil || p.listeners.connections == nil || p.config.Server.Serving.Cert == nil {
		return errors.New("a proxy that runs needs a listener and a serving certificate")
	}
	// What the proxy itself needs outlives ctx by the time of the drain.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer p.listeners.reused.close()
	running.Go(func() { p.router.Run(inner) })
	running.Go(func() { p.streams.runRechecks(inner) })
	running.Go(func() { // certificates that expire, or have expired when they come into use
		wait.UntilWithContext(inner, func(context.Context) { p.pages.expired.Report(p.config.Now()) }, expiredInterval)
	})
	defer p.router.Close()
	config, err := p.tlsConfig(inner, &running)
	if err != nil {
		return err
	}
	server := p.server(config)
	forHTTP2 := p.server(nil)
	forHTTP2.WriteTimeout = ownAnswerTimeout
	chargeHTTP2Heads(server, forHTTP2)
	served := make(chan error, 2)
	running.Go(func() { served <- server.ServeTLS(p.listeners.connections, "", "") })
	running.Go(func() { served <- server.Serve(p.listeners.reused) })
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", p.config.Server.Serving.Listener.Addr(), err)
	case <-ctx.Done():
	}
	return p.drain(inner, server)
}

// expiredInterval is how often certificates are checked: one that had expired when its file was
// swapped in is logged that soon.
const expiredInterval = 10 * time.Second

// drain ends the server as Run says.
func (p *Proxy) drain(ctx context.Context, server *http.Server) error {
	p.health.Drain()
	if p.config.Server.ShutdownDelay > 0 {
		p.config.Log.Info("Shutting down: still serving until load balancers notice", "delay", p.config.Server.ShutdownDelay)
		time.Sleep(p.config.Server.ShutdownDelay)
	}
	deadline, cancel := context.WithTimeout(ctx, p.config.Server.ShutdownTimeout)
	defer cancel()
	var streams sync.WaitGroup
	streams.Go(func() { p.streams.set.drain(min(p.config.Server.ShutdownTimeout/2, maxDrainWindow), deadline.Done()) })
	err := server.Shutdown(deadline)
	streams.Wait()
	p.streams.set.cut()
	if err != nil {
		p.config.Log.Info("Shutting down: cutting the requests that still run", "after", p.config.Server.ShutdownTimeout)
		if err := server.Close(); err != nil {
			return fmt.Errorf("close the server: %w", err)
		}
	}
	return nil
}

// maxDrainWindow is over how long the ends of watches are spread at most.
const maxDrainWindow = 10 * time.Second

func (p *Proxy) server(config *tls.Config) *http.Server {
	// There is no time limit for a whole request: see progressDeadline.
	s := &http.Server{
		Handler:           p,
		TLSConfig:         config,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       serverIdleTimeout,
		ErrorLog:          p.errorLog,
		ConnState:         connState,
		ConnContext:       connContext,
		Protocols:         new(http.Protocols),
		// OPTIONS * is answered like any target that is not a path.
		DisableGeneralOptionsHandler: true,
	}
	s.Protocols.SetHTTP1(true)
	if p.config.Server.Serving.DisableHTTP2 {
		return s
	}
	s.Protocols.SetHTTP2(true)
	streams := p.config.Server.Serving.HTTP2MaxStreamsPerConnection
	if streams <= 0 {
		streams = defaultStreams
	}
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          streams,
		MaxReadFrameSize:              clientFrame,
		MaxReceiveBufferPerStream:     uploadWindow,
		MaxReceiveBufferPerConnection: max(uploadWindow, windowShare*streams),
	}
	return s
}

// tlsConfig follows the serving certificates and the advertised client CAs as
// their files change.
func (p *Proxy) tlsConfig(ctx context.Context, running *sync.WaitGroup) (*tls.Config, error) {
	s := p.config.Server.Serving
	config := &tls.Config{
		MinVersion:       max(s.MinTLSVersion, tls.VersionTLS12),
		CipherSuites:     s.CipherSuites,
		CurvePreferences: s.CurvePreferences,
		NextProtos:       []string{"h2", "http/1.1"},
	}
	if s.DisableHTTP2 {
		config.NextProtos = []string{"http/1.1"}
	}
	if s.ClientCA != nil {
		// Any certificate passes the handshake: Decide determines whose it is, if
		// anybody's.
		config.ClientAuth = tls.RequestClientCert
	}
	controller := dynamiccertificates.NewDynamicServingCertificateController(config, s.ClientCA, s.Cert, s.SNICerts, nil)
	s.Cert.AddListener(controller)
	for _, c := range s.SNICerts {
		c.AddListener(controller)
	}
	if s.ClientCA != nil {
		s.ClientCA.AddListener(controller)
	}
	if err := controller.RunOnce(); err != nil {
		return nil, fmt.Errorf("prepare the serving certificates: %w", err)
	}
	running.Go(func() { controller.Run(1, ctx.Done()) })
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, ok := hello.Conn.(*connection)
		if ok && c.head.read.Load() > maxHello {
			return nil, errors.New("the TLS handshake begins with more than a client needs")
		}
		config, err := controller.GetConfigForClient(hello)
		if ok && err == nil { // config is this connection's own
			config.VerifyConnection = func(state tls.ConnectionState) error {
				sent := c.head.read.Swap(0) // little comes after this
				// A ticket has the client's certificates in it, and the next hello would be too large. TLS 1.2
				// has promised the ticket by now.
				config.SessionTicketsDisabled = sent > freeHandshake
				return c.chargeHandshake(sent, certs.SizeOfParts(&state))
			}
		}
		return config, err
	}
	return config, nil
}
