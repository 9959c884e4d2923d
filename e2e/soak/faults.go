package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"

	"frontproxy/e2e/harness"
)

// fault is something that is done to the running system and made good again.
type fault struct {
	name string
	// refuses: requests for shard-1 may be refused meanwhile; endsStreams: watches
	// at shard-1 may end.
	refuses, endsStreams bool
	// do returns when all is well again.
	do func(context.Context) error
}

func (s *soak) faults() []fault {
	shard := s.env.Shard(shardOne)
	return []fault{
		{"shard-1 killed, started again", true, true, func(ctx context.Context) error {
			shard.Kill()
			if err := pause(ctx, 5*time.Second); err != nil {
				return err
			}
			return shard.Start(ctx)
		}},
		{"mapping file broken, an entry added and removed", false, false, s.changeMapping},
		{"both issuers down for 20 s", false, false, s.issuersDown},
		{"shard-1 frozen for 8 s", true, false, func(ctx context.Context) error { return s.freeze(ctx, shard, 8*time.Second) }},
		{"token file broken, a user added and removed", false, false, s.changeTokens},
		{"both issuers rotate their keys", false, false, s.rotateKeys},
		{"shard-1 moved to another address and back", false, true, s.move},
		{"serving certificate rotated", false, false, s.rotateServing},
		{"client CA bundle broken, a CA added and removed", false, false, s.changeClientCA},
		{"shard-1 frozen for 35 s", true, true, func(ctx context.Context) error { return s.freeze(ctx, shard, 35*time.Second) }},
		{"--authentication-config broken, an issuer added and removed", false, false, s.changeOperators},
		{"pair shown to shards rotated", false, false, s.rotateForwarding},
		{"WorkspaceAuthenticationConfiguration touched, an issuer added and removed", false, false, s.changeConfiguration},
		{"kubeconfigs broken, then rotated", false, false, s.changeKubeconfigs},
	}
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// wreak makes a fault and waits until every watch is open again and sees events.
func (s *soak) wreak(ctx context.Context, f *fault) error {
	s.far.trouble.set(f.refuses, f.endsStreams)
	if err := f.do(ctx); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := harness.Eventually(ctx, time.Minute, "shard-1's workspace to be served again", func(ctx context.Context) error {
		var all []error
		for _, u := range s.regulars() {
			all = append(all, s.isIn(ctx, u, s.far, http.StatusOK))
		}
		return errors.Join(all...)
	}); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := s.beat(ctx); err != nil {
		return fmt.Errorf("after %s: %w", f.name, err)
	}
	s.far.trouble.set(false, false)
	return nil
}

func (s *soak) freeze(ctx context.Context, shard *harness.Shard, d time.Duration) error {
	defer shard.Thaw()
	if err := shard.Freeze(); err != nil { //nolint:contextcheck // it takes milliseconds
		return err
	}
	return pause(ctx, d)
}

// reloaded waits until all files are in use, or until one is not.
func (s *soak) reloaded(ctx context.Context, all bool) error {
	return harness.Eventually(ctx, time.Minute, fmt.Sprintf("all files to be in use: %t", all), func(ctx context.Context) error {
		m, err := s.metrics(ctx)
		if least := m.least("front_proxy_config_last_reload_successful"); err == nil && (least == 1) != all {
			err = fmt.Errorf("the least of front_proxy_config_last_reload_successful is %v", least)
		}
		return err
	})
}

// breaks puts rubbish in a file's place and waits until the proxy says so.
func (s *soak) breaks(ctx context.Context, name string) error {
	good := s.volume.files[name]
	if err := s.volume.put(map[string][]byte{name: []byte("rubbish\n- {")}); err != nil {
		return err
	}
	if err := s.reloaded(ctx, false); err != nil {
		return err
	}
	if err := s.volume.put(map[string][]byte{name: good}); err != nil {
		return err
	}
	return s.reloaded(ctx, true)
}

// visit has a user come, have watches open, and be refused, with all watches
// ended, once out has been done.
func (s *soak) visit(ctx context.Context, u *user, in, out func() error) error {
	if err := in(); err != nil {
		return err
	}
	answered := func(want int) error {
		return harness.Eventually(ctx, time.Minute, fmt.Sprintf("%s to be answered %d", u.name, want), func(ctx context.Context) error {
			return errors.Join(s.isIn(ctx, u, s.near, want), s.isIn(ctx, u, s.far, want))
		})
	}
	if err := answered(http.StatusOK); err != nil {
		return err
	}
	u.away.Store(false)
	if err := s.streams.awaitOpen(ctx, u, true); err != nil {
		return err
	}
	u.away.Store(true)
	if err := out(); err != nil {
		return err
	}
	if err := answered(http.StatusUnauthorized); err != nil {
		return err
	}
	return s.streams.awaitOpen(ctx, u, false)
}

// visitByFile is visit by what a file says.
func (s *soak) visitByFile(ctx context.Context, u *user, name string, with []byte) error {
	without := s.volume.files[name]
	if err := s.breaks(ctx, name); err != nil {
		return err
	}
	return s.visit(ctx, u, func() error { return s.volume.put(map[string][]byte{name: with}) },
		func() error { return s.volume.put(map[string][]byte{name: without}) })
}

func (s *soak) changeTokens(ctx context.Context) error {
	return s.visitByFile(ctx, s.guest, "tokens.csv", append([]byte(guestsToken+",guest,2\n"), s.volume.files["tokens.csv"]...))
}

func (s *soak) changeClientCA(ctx context.Context) error {
	return s.visitByFile(ctx, s.emil, "clients.crt", append(append([]byte(nil), s.env.ClientCA.PEM...), s.volume.otherCA...))
}

func (s *soak) changeOperators(ctx context.Context) error {
	return s.visitByFile(ctx, s.otto, "authentication.yaml", []byte(structured(s.operator, s.operator2)))
}

func (s *soak) changeMapping(ctx context.Context) error {
	if err := s.breaks(ctx, "mapping.yaml"); err != nil {
		return err
	}
	mapped := func(is bool) error {
		return harness.Eventually(ctx, time.Minute, fmt.Sprintf("the entry to be in use: %t", is), func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.proxy.URL+"/soak/x", nil)
			if err != nil {
				return err
			}
			answer, err := s.alice.fresh.Do(r)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err == nil && (string(text) == "mapped") != is {
				err = fmt.Errorf("%s: %.100s", answer.Status, text)
			}
			return err
		})
	}
	if err := s.volume.put(map[string][]byte{"mapping.yaml": []byte(s.volume.mapping + s.volume.entry("/soak/", s.backend.url))}); err != nil {
		return err
	}
	if err := mapped(true); err != nil {
		return err
	}
	if err := s.volume.put(map[string][]byte{"mapping.yaml": []byte(s.volume.mapping)}); err != nil {
		return err
	}
	return mapped(false)
}

func (s *soak) issuersDown(ctx context.Context) error {
	s.issuer.SetDown(true)
	s.operator.SetDown(true)
	err := pause(ctx, 20*time.Second)
	s.issuer.SetDown(false)
	s.operator.SetDown(false)
	return err
}

// rotateKeys keeps the old ones published, as issuers do.
func (s *soak) rotateKeys(ctx context.Context) error {
	s.issuer.RotateKeeping()
	s.operator.RotateKeeping()
	return pause(ctx, 10*time.Second)
}

// move has the Shard object name another address and, once the proxy is connected
// there and half of the watches have been opened there, its own again. The other
// address is gone after.
func (s *soak) move(ctx context.Context) error {
	shard := s.env.Shard(shardOne)
	other, err := newRelay(ctx, shard.URL)
	if err != nil {
		return err
	}
	defer other.close()
	if err := s.moveTo(ctx, other.url); err != nil {
		return err
	}
	if err := harness.Eventually(ctx, time.Minute, "the proxy to connect to the shard's new address", func(context.Context) error {
		if n, err := other.connectionsOf(s.proxy.PID()); n == 0 {
			return fmt.Errorf("no connections (%w)", err)
		}
		return nil
	}); err != nil {
		return err
	}
	s.streams.reopen(s.far)
	if err := s.beat(ctx); err != nil {
		return err
	}
	if err := s.moveTo(ctx, shard.URL); err != nil {
		return err
	}
	return pause(ctx, 5*time.Second) // what is asked at the other address is answered by then
}

// moveTo changes a Shard's address.
func (s *soak) moveTo(ctx context.Context, url string) error {
	root := s.env.ShardAdmin(s.env.Shard(harness.RootShard))
	return root.Patch(ctx, "root", harness.Shards, shardOne, fmt.Sprintf(`{"spec":{"baseURL":%q}}`, url))
}

// rotated puts new pairs in place and waits until the proxy tells of their ends.
func (s *soak) rotated(ctx context.Context, files map[string][]byte) error {
	ends := func() (float64, error) {
		m, err := s.metrics(ctx)
		return m.sum("front_proxy_certificate_expiration_timestamp_seconds"), err
	}
	before, err := ends()
	if err != nil {
		return err
	}
	if err := s.volume.put(files); err != nil {
		return err
	}
	return harness.Eventually(ctx, time.Minute, "the new certificate to be in use", func(context.Context) error {
		now, err := ends()
		if err == nil && now == before {
			err = errors.New("the ends of certificates are what they were")
		}
		return err
	})
}

func (s *soak) rotateServing(ctx context.Context) error {
	serving, _, err := s.volume.pairs()
	if err != nil {
		return err
	}
	return s.rotated(ctx, map[string][]byte{"tls.crt": serving.Cert, "tls.key": serving.Key})
}

func (s *soak) rotateForwarding(ctx context.Context) error {
	_, forwarding, err := s.volume.pairs()
	if err != nil {
		return err
	}
	return s.rotated(ctx, map[string][]byte{"forward.crt": forwarding.Cert, "forward.key": forwarding.Key})
}

func (s *soak) changeKubeconfigs(ctx context.Context) error {
	s.volume.made++
	next, err := s.env.ClientCA.Client(s.volume.dir+fmt.Sprintf("-users-%d", s.volume.made), "shard-admin", "system:masters")
	if err != nil {
		return err
	}
	for _, name := range []string{"root.kubeconfig", "shards.kubeconfig"} {
		if err := s.breaks(ctx, name); err != nil {
			return err
		}
		content, err := withUser(s.volume.files[name], next)
		if err != nil {
			return err
		}
		if err := s.volume.put(map[string][]byte{name: content}); err != nil {
			return err
		}
		if err := s.reloaded(ctx, true); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) changeConfiguration(ctx context.Context) error {
	admin := s.proxy.Admin()
	for n := range 3 {
		if err := admin.Patch(ctx, s.org.Path, harness.AuthConfigurations, "issuer", fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, n)); err != nil {
			return err
		}
	}
	trusting := func(jwt ...tenancyv1alpha1.JWTAuthenticator) func() error {
		return func() error {
			var c tenancyv1alpha1.WorkspaceAuthenticationConfiguration
			if err := admin.Get(ctx, s.org.Path, harness.AuthConfigurations, "issuer", &c); err != nil {
				return err
			}
			c.Spec.JWT = jwt
			return admin.Update(ctx, s.org.Path, harness.AuthConfigurations, "issuer", &c)
		}
	}
	return s.visit(ctx, s.zoe, trusting(trust(s.issuer), trust(s.second)), trusting(trust(s.issuer)))
}
