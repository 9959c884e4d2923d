package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

const unixScheme = "unix://"

// debugListener listens on --debug-address: a loopback address with a port, or
// unix:///path of a socket, which only the proxy's own user may use. It accepts no
// other address, because clients are not authenticated there.
func debugListener(address string) (net.Listener, error) {
	if err := checkDebugAddress(address); err != nil {
		return nil, err
	}
	path, socket := strings.CutPrefix(address, unixScheme)
	if !socket {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { //nolint:gosec // the operator names it
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

func (o *debugOptions) validate() error {
	if o.address == "" {
		return nil
	}
	return checkDebugAddress(o.address)
}

// checkDebugAddress returns what is wrong with a --debug-address, or nil.
func checkDebugAddress(address string) error {
	if path, socket := strings.CutPrefix(address, unixScheme); socket {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("--debug-address=%s: the path of a socket must be absolute, as in unix:///run/front-proxy/debug.sock", address)
		}
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("--debug-address=%s: must be a loopback address with a port, as in 127.0.0.1:9443 or [::1]:9443, or unix:///path: clients are not authenticated there", address)
	}
	return nil
}

// removeStale removes a socket that an ended process left behind.
func removeStale(path string) error {
	info, err := os.Lstat(path) //nolint:gosec // the operator names it
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil { //nolint:gosec // the operator names it
		_ = c.Close()
		return fmt.Errorf("another process listens on %s", path)
	}
	return os.Remove(path) //nolint:gosec // the operator names it
}

// serveDebug serves the handler on the listener until ctx ends.
func serveDebug(listener net.Listener, handler http.Handler) func(context.Context) error {
	return serveUntil("debug address", listener, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute})
}

// serveUntil serves on the listener until ctx ends; errors say what failed.
func serveUntil(what string, listener net.Listener, server *http.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = server.Close() })()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
}
