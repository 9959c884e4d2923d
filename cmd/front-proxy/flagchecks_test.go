package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
)

// TestBlanksInFlags: a value that can match nothing, or has whom it matches
// refused, is told with its flag, its place and the cause, at the start and by
// check; where kube-apiserver does not start, this doesn't either.
func TestBlanksInFlags(t *testing.T) {
	for _, tt := range []struct {
		arg   string
		notes []string // the beginning of each
		fails string   // part of the error
	}{
		{"--requestheader-allowed-names=a,b", nil, ""},
		{"--requestheader-allowed-names=", nil, ""},
		{"--requestheader-allowed-names=a, b", []string{`--requestheader-allowed-names, value 2 " b" has leading or trailing white space: it matches only`}, ""},
		{"--requestheader-allowed-names=a,", []string{`--requestheader-allowed-names, value 2 is empty`}, `--requestheader-allowed-names, value 2 is empty`},
		{"--requestheader-allowed-names=a\u200b", []string{`--requestheader-allowed-names, value 1 "a\u200b" has an invisible character`}, ""},
		{"--requestheader-username-headers=X-Remote-User, X-User", nil, ""}, // trimmed, as in kube
		{"--requestheader-username-headers=X-Remote-User, ", nil, `--requestheader-username-headers, value 2 is empty`},
		{"--requestheader-uid-headers=X Uid", []string{`--requestheader-uid-headers, value 1 "X Uid" has a character that header names do not have: it is never read`}, ""},
		{"--requestheader-uid-headers=", nil, ""},
		{"--requestheader-group-headers=X-Remote-Group,\t", nil, `--requestheader-group-headers, value 2 is empty`},
		{"--requestheader-group-headers=X-Remote-Group:", []string{`--requestheader-group-headers, value 1 "X-Remote-Group:" has a character`}, ""},
		{"--requestheader-extra-headers-prefix=X-Remote-Extra-\ufeff", []string{`--requestheader-extra-headers-prefix, value 1 "X-Remote-Extra-\ufeff" has a character`}, ""},
		{"--requestheader-extra-headers-prefix= ,X-", nil, `--requestheader-extra-headers-prefix, value 1 is empty`},
		{"--authentication-drop-groups=a,b c,d *", nil, ""},
		{"--authentication-drop-groups=a, b*", []string{`--authentication-drop-groups, value 2 " b*": a name like " bx" has leading or trailing white space: no group has that, so "b*" is dropped`}, ""},
		{"--authentication-drop-groups=a,,b", []string{`--authentication-drop-groups, value 2 is empty: it matches nothing`}, ""},
		{"--authentication-pass-on-groups=a , b", []string{
			`--authentication-pass-on-groups, value 1 "a " has leading or trailing white space: it matches nothing`, `--authentication-pass-on-groups, value 2 " b" has leading`}, ""},
		{"--authentication-pass-on-groups=a\u00adb", []string{`--authentication-pass-on-groups, value 1 "a\u00adb" has an invisible character`}, ""},
		{"--api-audiences=a, b", []string{`--api-audiences, value 2 " b" has leading or trailing white space`}, ""},
		{"--api-audiences=a,", []string{`--api-audiences, value 2 is empty`}, "--api-audiences: contains an empty audience"},
		{"--service-account-issuer=https://kcp.default.svc ", []string{`--service-account-issuer, value 1 "https://kcp.default.svc " has leading or trailing white space`}, ""},
		{"--oidc-client-id= kcp", []string{`--oidc-client-id " kcp" has leading or trailing white space`}, ""},
		{"--oidc-username-claim=sub ", []string{`--oidc-username-claim "sub " has leading or trailing white space`}, ""},
		{"--oidc-groups-claim=\u00a0groups", []string{`--oidc-groups-claim "\u00a0groups" has leading or trailing white space`}, ""},
		{"--oidc-username-prefix=oidc: ", nil, ""}, // no end of a name
		{"--oidc-username-prefix=-", nil, ""},
		{"--oidc-username-prefix= oidc:", []string{`--oidc-username-prefix " oidc:": a name like " oidc:x" has leading or trailing white space: all its users are refused`}, ""},
		{"--oidc-groups-prefix=oidc:\t", []string{`--oidc-groups-prefix "oidc:\t": a name like "oidc:\tx" has a control character: its users with groups`}, ""},
		{"--oidc-required-claim=org = kcp", []string{`--oidc-required-claim "org " has leading`, `--oidc-required-claim " kcp" has leading`}, ""},
		{"--oidc-signing-algs=RS256, ES256", nil, ""}, // NewOIDC refuses it
		{"--shard-client-common-names=s1=a, b", []string{`--shard-client-common-names, value 2 " b" has leading or trailing white space`}, ""},
		{"--shard-client-common-names=s1 =a", []string{`--shard-client-common-names, value 1 "s1 " has leading or trailing white space`}, ""},
		{"--cors-allowed-origins=//a$, //b$", []string{`--cors-allowed-origins, value 2 " //b$" has leading or trailing white space`}, ""},
		{"--external-url= https://a", nil, "--external-url: "},
		{"--workspace-egress-deny-cidrs=10.0.0.0/8, 127.0.0.0/8", nil, `--workspace-egress-deny-cidrs: " 127.0.0.0/8" is not a CIDR`},
		{"--login-client=issuer-url=https://a, client-id= b ", nil, ""}, // trimmed
		{"--login-client=issuer-url=https://a,client-id=b,ca-file=" + file(t, "empty.crt", []byte("\n")), nil, `empty.crt" is empty`},
		{"--login-client=issuer-url=https://a,client-id=b\u200b", nil, "--login-client: the client id must be of visible ASCII"},
	} {
		t.Run(tt.arg, func(t *testing.T) {
			o, err := parse([]string{tt.arg})
			if err != nil {
				t.Fatal(err)
			}
			var logged []string
			o.notices(funcr.New(func(_, args string) {
				if strings.Contains(args, "A value of a flag has no effect or is refused") { // other notices are about other things
					logged = append(logged, args)
				}
			}, funcr.Options{}))
			notes := o.unusable()
			if len(notes) != len(tt.notes) || len(logged) != len(tt.notes) {
				t.Fatalf("says %q and logs %q, want %q", notes, logged, tt.notes)
			}
			for n, want := range tt.notes {
				if !strings.HasPrefix(notes[n], want) {
					t.Errorf("says %q, want %q", notes[n], want)
				}
			}
			err = o.validate() // says that more flags are missing
			if tt.fails != "" && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("fails with %v, want %q", err, tt.fails)
			}
			flag, _, _ := strings.Cut(tt.arg, "=")
			if tt.fails == "" && strings.Contains(strings.ReplaceAll(err.Error(), "--requestheader-username-headers is set but", ""), flag+", value") {
				t.Errorf("fails with %v", err)
			}
		})
	}
}

// TestDroppedGroups: white space around a group to drop keeps nobody in it.
func TestDroppedGroups(t *testing.T) {
	o, err := parse([]string{"--authentication-drop-groups=system:masters, ops,dev* ,"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"system:masters", "ops", "dev*"}, o.auth.groups.dropped()); diff != "" {
		t.Error(diff)
	}
	if all := newOptions().auth.groups; !slices.Equal(all.dropped(), all.drop) {
		t.Errorf("the default becomes %q", all.dropped())
	}
}
