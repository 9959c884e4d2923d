package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"frontproxy/proxy/zpages"
)

const statuszUsage = `Statusz prints what a running front-proxy knows: shards and their watches,
issuers, authentication configurations, certificates, and changed files that it
cannot use.

  front-proxy statusz --debug-address=unix:///run/front-proxy/debug.sock
      asks the proxy on this machine, which needs nobody's permission.
  front-proxy statusz --kubeconfig=admin.kubeconfig
      asks the proxy of the kubeconfig. This needs get on the non-resource URL
      /statusz in the workspace root.
`

func newStatuszCommand() *cobra.Command {
	o := &connectOptions{}
	c := &cobra.Command{
		Use: "statusz [flags]", Short: "Print what a running proxy knows of shards and issuers", Long: statuszUsage,
		Args: outputOnly(&o.output),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.statusz(c.Context(), c.OutOrStdout()); err != nil {
				return fmt.Errorf("statusz: %w", err)
			}
			return nil
		},
	}
	o.flags(c.Flags())
	completeOutput(c)
	return c
}

// statusz prints the proxy's /statusz.
func (o *connectOptions) statusz(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	proxy, err := o.client(false)
	if err != nil {
		return err
	}
	if o.debugAddress == "" {
		proxy.forbidden = "this needs get on the non-resource URL " + zpages.StatuszPath + " in the workspace root"
	}
	accept := "application/json"
	if o.output == "text" {
		accept = "text/plain"
	}
	text, err := proxy.do(ctx, http.MethodGet, zpages.StatuszPath, accept, nil)
	if err != nil {
		return err
	}
	page := &zpages.Statusz{}
	isPage := strings.HasPrefix(string(text), "\nfront-proxy statusz\n")
	if o.output != "text" {
		isPage = json.Unmarshal(text, page) == nil && page.Kind == "Statusz"
	}
	if !isPage {
		return errNoPage
	}
	return render(stdout, o.output, page, func(w io.Writer) { _, _ = w.Write(text) })
}
