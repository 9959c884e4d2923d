package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"frontproxy/e2e/harness"
)

// company is where Alice has a login: a Dex, which knows nothing of kcp.
type company struct {
	dex    *harness.Dex
	filler string // fills its form for her
	home   string // of somebody who has nothing yet
}

func startCompany(ctx context.Context, env *harness.Environment, tools harness.LoginTools, progress func(string)) (*company, error) {
	c := &company{home: filepath.Join(env.Dir, "elsewhere")}
	if err := os.Mkdir(c.home, 0o700); err != nil {
		return nil, err
	}
	var err error
	if c.filler, err = harness.BuildFormFiller(ctx, env.Dir); err != nil {
		return nil, err
	}
	dir := filepath.Join(env.Dir, "dex")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	progress("starting Dex, the login server of Alice's company")
	c.dex, err = harness.StartDex(ctx, tools.Dex, dir, time.Hour)
	return c, err
}

// configure has a cluster's types trust the company, and tell of it.
func (c *company) configure(ctx context.Context, admin *harness.Client, cluster string) error {
	return admin.CreateLoginConfiguration(ctx, cluster, "company", map[string]string{
		"front-proxy.kcp.io/login-client-id": harness.DexClient, "front-proxy.kcp.io/login-scopes": "openid email offline_access",
	}, map[string]any{
		"issuer":        map[string]any{"url": c.dex.URL, "audiences": []string{harness.DexClient}, "certificateAuthority": c.dex.CAPEM},
		"claimMappings": map[string]any{"username": map[string]any{"claim": "email", "prefix": prefix}},
	})
}

// awaitDiscovery waits until the proxy tells of the company.
func (c *company) awaitDiscovery(ctx context.Context, env *harness.Environment, workspace string) error {
	client := env.Proxy.Certificate(harness.KeyPair{}, nil)
	return harness.Eventually(ctx, 30*time.Second, "the proxy to publish where to log in to "+workspace, func(ctx context.Context) error {
		_, err := client.Raw(ctx, "/.well-known/oauth-protected-resource/clusters/"+workspace)
		return err
	})
}
