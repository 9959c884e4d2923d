package authn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/index/shards"
)

// changing is a token authenticator whose mind can be changed.
type changing struct {
	user  user.Info
	until time.Time
	err   error
	// revoked is the error of CheckRevoked; stranger: the token is not of its kind.
	revoked  error
	stranger bool
	asked    int // times
}

func (c *changing) Name() string { return "changing" }

func (c *changing) AuthenticateToken(context.Context, token.Token) (user.Info, time.Time, error) {
	c.asked++
	if c.err != nil {
		return nil, time.Time{}, c.err
	}
	return c.user, c.until, nil
}

func (c *changing) CheckRevoked(context.Context, token.Token, time.Time) (bool, error) {
	return !c.stranger, c.revoked
}

func TestRecheck(t *testing.T) {
	start := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	undecided := fmt.Errorf("%w: home is down", token.ErrUndecided)
	bot := &user.DefaultInfo{Name: "bot", UID: "1", Groups: []string{"b", "a"}, Extra: map[string][]string{identity.ScopesKey: {"cluster:a", "cluster:b"}, "tier": {"gold"}}}
	extra := func(change func(map[string][]string)) func(*changing) {
		return func(c *changing) {
			u := *bot
			u.Extra = maps.Clone(bot.Extra)
			change(u.Extra)
			c.user = &u
		}
	}
	for name, tc := range map[string]struct {
		change      func(*changing)
		later       time.Duration
		endAtExpiry bool
		webhook     bool   // it is the webhook
		want        string // part of the reason; "": it goes on
	}{
		"still good": {change: func(*changing) {}},
		"refused":    {change: func(c *changing) { c.err = errors.New("account is gone") }, want: "account is gone"},
		"undecided":  {change: func(c *changing) { c.err = undecided }},
		"groups in another order": {change: func(c *changing) {
			c.user = &user.DefaultInfo{Name: "bot", UID: "1", Groups: []string{"a", "b"}, Extra: bot.Extra}
		}},
		"a group less":                 {change: func(c *changing) { c.user = &user.DefaultInfo{Name: "bot", UID: "1", Groups: []string{"a"}} }, want: "another identity"},
		"another user":                 {change: func(c *changing) { c.user = &user.DefaultInfo{Name: "root", UID: "1", Groups: []string{"a", "b"}} }, want: "another identity"},
		"another scope":                {change: extra(func(e map[string][]string) { e[identity.ScopesKey] = []string{"cluster:b"} }), want: "another identity"},
		"scopes in another order":      {change: extra(func(e map[string][]string) { e[identity.ScopesKey] = []string{"cluster:b", "cluster:a"} })},
		"no scope":                     {change: extra(func(e map[string][]string) { delete(e, identity.ScopesKey) }), want: "another identity"},
		"a warrant more":               {change: extra(func(e map[string][]string) { e["authorization.kcp.io/warrant"] = []string{"{}"} }), want: "another identity"},
		"another extra":                {change: extra(func(e map[string][]string) { e["tier"] = []string{"lead"} }), want: "another identity"},
		"another extra of the webhook": {webhook: true, change: extra(func(e map[string][]string) { e["tier"] = []string{"lead"} })},
		"another scope of the webhook": {webhook: true, change: extra(func(e map[string][]string) { e[identity.ScopesKey] = nil }), want: "another identity"},
		"ended":                        {change: func(c *changing) { c.err = errors.New("expired") }, later: time.Hour},
		"ended, with the flag":         {change: func(*changing) {}, later: time.Hour, endAtExpiry: true, want: "ended at 2026-09-01T13:00:00Z"},
		"just before, with the flag":   {change: func(*changing) {}, later: time.Hour - 1, endAtExpiry: true},
		"ended, then its account too":  {change: func(c *changing) { c.err, c.revoked = errors.New("expired"), errors.New("account is gone") }, later: 2 * time.Hour, want: "account is gone"},
		"ended, then nobody knows it":  {change: func(c *changing) { c.err, c.stranger = errors.New("expired"), true }, later: 2 * time.Hour, want: "no configuration trusts"},
		"ended, its account not known": {change: func(c *changing) { c.err, c.revoked = errors.New("expired"), undecided }, later: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			c := &changing{user: bot, until: start.Add(time.Hour)}
			config := Config{Tokens: []token.Authenticator{c}, EndAtExpiry: tc.endAtExpiry, Now: func() time.Time { return now }}
			if tc.webhook {
				config.Tokens, config.Webhook = nil, c
			}
			a, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(http.MethodGet, "https://proxy/clusters/root/api?watch=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer opaque")
			target := &index.Target{Cluster: "root"}
			admitted := a.Decide(r.Context(), requestOf(r, target))
			if admitted.User == nil {
				t.Fatalf("not admitted: %+v", admitted)
			}
			tc.change(c)
			now = now.Add(tc.later)
			d := a.Recheck(r.Context(), requestOf(r, target), admitted)
			switch {
			case (d != nil) != (tc.want != ""):
				t.Errorf("Recheck: %+v, want %q", d, tc.want)
			case d != nil && (d.Status != http.StatusUnauthorized || !strings.Contains(d.Verdicts[0].Reason, tc.want)):
				t.Errorf("Recheck: %+v, want %q", d, tc.want)
			case d != nil && a.Refusals().Find(d.ID) == nil:
				t.Errorf("refusal %q is not kept", d.ID)
			}
		})
	}
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if d := a.Recheck(t.Context(), Request{}, &Decision{PassThrough: true}); d != nil {
		t.Errorf("what passed through is ended: %+v", d)
	}
}

// TestRecheckOthersUndecided: what had admitted a stream refuses it now, and somebody
// else, whom a tenant chose, can't tell: he would have admitted another identity.
func TestRecheckOthersUndecided(t *testing.T) {
	bot := &user.DefaultInfo{Name: "bot", Groups: []string{"a"}}
	gone, undecided := errors.New("account is gone"), fmt.Errorf("%w: home is down", token.ErrUndecided)
	for name, tc := range map[string]struct {
		byType        bool  // the type's authenticator admits, else the operator's
		global, later error // what they say later
		broken        bool  // a configuration of the type is
		unknown       bool  // nobody knows the type
		ends          bool
	}{
		"the operator refuses, the type's issuer hangs":           {global: gone, later: undecided, ends: true},
		"the operator refuses, a configuration is broken":         {global: gone, later: gone, broken: true, ends: true},
		"the operator refuses, nobody knows the type":             {global: gone, unknown: true, ends: true},
		"the operator can't tell, the type refuses":               {global: undecided, later: gone},
		"the type refuses, the operator can't tell":               {byType: true, global: undecided, later: gone, ends: true},
		"the type's issuer hangs, the operator refuses":           {byType: true, global: gone, later: undecided},
		"the type refuses, another configuration of it is broken": {byType: true, global: gone, later: gone, broken: true},
		"the type is not known now":                               {byType: true, global: gone, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			global, member := &changing{user: bot}, &changing{user: bot}
			if tc.byType {
				global.err = gone
			} else {
				member.err = gone
			}
			types := typesFunc(func() (*workspacetypes.TypeAuthenticators, error) {
				return &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{"": {member}}}, nil
			})
			a, err := New(Config{Tokens: []token.Authenticator{global}, Types: &types})
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(http.MethodGet, "https://proxy/clusters/ws/api?watch=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer opaque")
			target := &index.Target{Cluster: "ws", Type: index.Type{Cluster: "owner", Name: "x"}}
			admitted := a.Decide(r.Context(), requestOf(r, target))
			if admitted.User == nil {
				t.Fatalf("not admitted: %+v", admitted)
			}
			global.err, member.err = tc.global, tc.later
			was, asked := types, member.asked
			types = func() (*workspacetypes.TypeAuthenticators, error) {
				if tc.unknown {
					return nil, undecided
				}
				found, err := was()
				if tc.broken {
					found.Undecided = []string{"configuration y does not exist"}
				}
				return found, err
			}
			d := a.Recheck(r.Context(), requestOf(r, target), admitted)
			switch {
			case (d != nil) != tc.ends:
				t.Errorf("Recheck: %+v, ends: want %v", d, tc.ends)
			case d != nil && (d.Status != http.StatusUnauthorized || a.Refusals().Find(d.ID) == nil):
				t.Errorf("Recheck: %+v, want a 401 that is kept", d)
			}
			if !tc.byType && member.asked != asked {
				t.Error("the type's authenticator is asked about what the operator's admitted")
			}
			kept := 0
			for i := range a.Refusals().rings {
				kept += int(a.Refusals().rings[i].next)
			}
			if tc.ends != (kept == 1) {
				t.Errorf("%d refusals are kept, ends: %v", kept, tc.ends)
			}
		})
	}
}

// typesFunc has the authenticators of all types.
type typesFunc func() (*workspacetypes.TypeAuthenticators, error)

func (f *typesFunc) Authenticators(index.Type) (*workspacetypes.TypeAuthenticators, error) {
	return (*f)()
}

func (*typesFunc) DescribeType(index.Type) []authstatus.Authenticator { return nil }

func TestRecheckFlow(t *testing.T) {
	target := func(cluster, owner, shard string) *index.Target {
		return &index.Target{Cluster: cluster, Shard: &shards.Shard{Name: shard}, Type: index.Type{Cluster: owner, Name: "x"}}
	}
	same := func(d *Decision, a, b *index.Target) [2]bool {
		sourceA, flowA := d.RecheckFlow(a)
		sourceB, flowB := d.RecheckFlow(b)
		return [2]bool{sourceA == sourceB, flowA == flowB}
	}
	account := &Decision{Authenticator: byToken, ServiceAccount: true}
	for name, tc := range map[string]struct {
		d    *Decision
		a, b *index.Target
		want [2]bool // the same source, the same flow
	}{
		"two workspaces of an owner's type":         {&Decision{Authenticator: byWorkspace}, target("a", "owner", "s"), target("b", "owner", "r"), [2]bool{true, true}},
		"two owners":                                {&Decision{Authenticator: byWorkspace}, target("a", "owner", "s"), target("b", "other", "s"), [2]bool{true, false}},
		"an operator's token in two workspaces":     {&Decision{Authenticator: byToken}, target("a", "owner", "s"), target("b", "owner", "s"), [2]bool{true, false}},
		"service accounts of a shard":               {account, target("a", "owner", "s"), target("b", "owner", "s"), [2]bool{true, false}},
		"service accounts of two shards":            {account, target("a", "owner", "s"), target("b", "owner", "r"), [2]bool{false, false}},
		"a service account where no shard is known": {account, &index.Target{}, &index.Target{}, [2]bool{true, true}},
	} {
		if got := same(tc.d, tc.a, tc.b); got != tc.want {
			t.Errorf("%s: the same source and flow: %v, want %v", name, got, tc.want)
		}
	}
	if a, _ := account.RecheckFlow(target("a", "o", "s")); a == byToken {
		t.Error("service accounts wait with the webhook's tokens")
	}
}
