package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/zpages"
)

// explainConfigurations shows the state of a workspace's configurations, or the state that those
// of question's change would have.
func (o *explainOptions) explainConfigurations(ctx context.Context, asker *proxyClient, question *zpages.ExplainRequest, ignored []string, stdout io.Writer) error {
	method, path, body := http.MethodGet, zpages.AuthenticationPath, []byte(nil)
	if o.configuration != "" {
		path += "/" + url.PathEscape(o.configuration)
	}
	if question != nil {
		var err error
		method = http.MethodPost
		if body, err = json.Marshal(&zpages.ConfigurationsRequest{Change: question.Change, Token: question.Token}); err != nil {
			return fmt.Errorf("explain: %w", err)
		}
	}
	page := &zpages.ConfigurationsPage{}
	if err := asker.page(ctx, method, path, body, page); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	return render(stdout, o.output, page, func(w io.Writer) {
		configurationsText(w, page)
		if len(ignored) > 0 {
			printTo(w)("Note: %s", notUsed(ignored))
		}
	})
}

// configurationsText writes the page as text.
func configurationsText(w io.Writer, p *zpages.ConfigurationsPage) {
	say := printTo(w)
	if len(p.Configurations) == 0 {
		say("Workspace %s has no WorkspaceAuthenticationConfigurations. Those of its type are in the workspace that owns the type.", p.LogicalCluster)
	}
	for i := range p.Configurations {
		configurationText(say, &p.Configurations[i])
	}
	if p.More > 0 {
		say("%d more are not listed; ask for one by its name", p.More)
	}
	if p.Token != nil {
		triedTokenText(say, p)
	}
	say("Reported by instance %s; others may have read an issuer at another time", p.Instance)
}

func configurationText(say printer, c *workspacetypes.TenantConfiguration) {
	say("%s: %s", c.Name, c.State)
	if c.Error != "" {
		say("  %s", c.Error)
	}
	if c.LoginError != "" {
		say("  not published by login discovery: %s", c.LoginError)
	}
	if len(c.Types) > 0 {
		say("  used by types %s", strings.Join(c.Types, ", "))
	}
	for i := range c.Issuers {
		configurationIssuerText(say, &c.Issuers[i])
	}
}

func configurationIssuerText(say printer, i *workspacetypes.TenantIssuer) {
	say("  %s: %s, audiences %q", i.URL, i.State, i.Audiences)
	if i.Error != "" {
		say("    last attempt at %s failed: %s", when(i.LastAttempt), i.Error)
	}
	if !i.LastSuccess.IsZero() {
		say("    last read at %s", when(i.LastSuccess))
	}
	for _, k := range i.Keys {
		say("    key %q since %s", k.ID, when(k.Since))
	}
	say.each("    not used: %s", i.IgnoredKeys)
	for _, reason := range slices.Sorted(maps.Keys(i.RefusedInLastHour)) {
		say("    refused in the last hour: %d for %s", i.RefusedInLastHour[reason], reason)
	}
}

func triedTokenText(say printer, p *zpages.ConfigurationsPage) {
	t := p.Token
	say("The token: %s", t.Outcome)
	for i := range p.Configurations {
		if c := &p.Configurations[i]; c.State == workspacetypes.ShownBroken && decided(t, c.Name) {
			say("  The version of %s in use now decided this, because the one in the file is broken", c.Name)
		}
	}
	credentialText(say, &t.Credential)
	if t.Identity != nil {
		say("  as %s, groups %q", t.Identity.Username, t.Identity.Groups)
		for _, key := range slices.Sorted(maps.Keys(t.Identity.Extra)) {
			say("  extra %s: %q", key, []string(t.Identity.Extra[key]))
		}
	}
	for _, v := range t.Verdicts {
		say("  %s %s: %s", v.Authenticator, v.Outcome, v.Reason)
	}
	say.each("  the guard removed %s", t.Guard)
}

// decided reports whether an entry of a configuration accepted or refused the token.
func decided(t *zpages.TriedToken, configuration string) bool {
	return slices.ContainsFunc(t.Verdicts, func(v authn.Verdict) bool {
		return (v.Outcome == authn.Accepted || v.Outcome == authn.Refused) && strings.Contains(v.Authenticator, "/"+configuration+" jwt[")
	})
}
