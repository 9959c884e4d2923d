package tokenfile

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/identity"
	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/token"
)

func TestTokenFile(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		token   string
		want    *user.DefaultInfo
		wantErr string
	}{
		"user":                      {text: "s3cret,alice,uid-1\n", token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1"}},
		"groups":                    {text: `s3cret,alice,uid-1,"a,b"`, token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1", Groups: []string{"a", "b"}}},
		"one group":                 {text: `s3cret,alice,uid-1,a`, token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1", Groups: []string{"a"}}},
		"empty groups":              {text: `s3cret,alice,uid-1,""`, token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1"}},
		"more columns":              {text: `s3cret,alice,uid-1,a,b`, token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1", Groups: []string{"a"}}},
		"second line":               {text: "x,bob,1\ns3cret,alice,2\n", token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "2"}},
		"last of two":               {text: "s3cret,bob,1\ns3cret,alice,2\n", token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "2"}},
		"no UID":                    {text: "s3cret,alice,", token: "s3cret", want: &user.DefaultInfo{Name: "alice"}},
		"unknown token":             {text: "s3cret,alice,1\n", token: "other"},
		"prefix of a token":         {text: "s3cret,alice,1\n", token: "s3cre"},
		"empty token in the file":   {text: ",alice,1\n", token: ""},
		"no tokens":                 {text: ",,\n", token: "s3cret"},
		"an empty group":            {text: `s3cret,alice,uid-1,"a,,b,"`, token: "s3cret", want: &user.DefaultInfo{Name: "alice", UID: "uid-1", Groups: []string{"a", "b"}}},
		"empty file":                {wantErr: "is empty"},
		"too few columns":           {text: "x,bob,1\n\ns3cret,alice\n", wantErr: "line 3 has 2 columns"},
		"a quote within a field":    {text: "x,bob,1\ns3\"cret,alice,1\n", wantErr: "line 2, column"},
		"a quote that never closes": {text: "x,bob,1\n\"s3cret,alice,1\n", wantErr: "line 2, column"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens.csv")
			authntest.WriteFile(t, file, tc.text)
			f, err := New(file, nil, klog.Logger{})
			if tc.wantErr != "" {
				if err == nil {
					t.Fatal("no error")
				}
				for _, part := range []string{tc.wantErr, file, "--token-auth-file"} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("the error does not name %q: %v", part, err)
					}
				}
				if strings.Contains(err.Error(), "cret") {
					t.Errorf("the error holds a token: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, until, err := f.AuthenticateToken(t.Context(), token.Token{Raw: tc.token})
			if err != nil || !until.IsZero() {
				t.Errorf("%v, %v", until, err)
			}
			if tc.want == nil {
				if got != nil {
					t.Errorf("identity %v, want none", got)
				}
				return
			}
			if diff := cmp.Diff(user.Info(tc.want), got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenFileMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "missing")
	if _, err := New(file, nil, klog.Logger{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name the file", err)
	}
}

// knows reports whether a token is known to f.
func (f *Authenticator) knows(raw string) bool {
	u, _, _ := f.AuthenticateToken(context.Background(), token.Token{Raw: raw})
	return u != nil
}

func TestTokenFileReload(t *testing.T) {
	file, clk := filepath.Join(t.TempDir(), "tokens.csv"), clocktesting.NewFakeClock(time.Now())
	authntest.WriteFile(t, file, "one,alice,1\n")
	f, err := New(file, clk, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	authntest.WriteFile(t, file, "two\n")
	if err := authntest.Settle(t, f.File, clk); err == nil {
		t.Error("a bad file is no error")
	}
	if f.LastError() == nil || !f.knows("one") {
		t.Error("the last good file is not kept")
	}
	authntest.WriteFile(t, file, "two,alice,1\n")
	if err := authntest.Settle(t, f.File, clk); err != nil {
		t.Fatal(err)
	}
	if f.LastError() != nil || f.knows("one") || !f.knows("two") {
		t.Error("the file was not reloaded")
	}
	authntest.WriteFile(t, file, "")
	if err := authntest.Settle(t, f.File, clk); err == nil || !f.knows("two") {
		t.Errorf("an emptied file revokes tokens (%v)", err)
	}
	authntest.WriteFile(t, file, ",,\n")
	if err := authntest.Settle(t, f.File, clk); err != nil || f.knows("two") {
		t.Errorf("a token outlives its line (%v)", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := authntest.Settle(t, f.File, clk); err == nil || f.knows("two") {
		t.Error("a missing file changes the tokens")
	}
}

func TestTokenFileRunFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.csv")
	authntest.WriteFile(t, file, "one,alice,1\n")
	f, err := New(file, nil, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	authntest.Follow(t, f.Run, func() { authntest.WriteFile(t, file, "two,alice,1\n") }, func() bool { return f.knows("two") })
}

func FuzzTokenFile(f *testing.F) {
	f.Add("token,name,uid,\"a,b\"\n")
	f.Add("a,b\n")
	f.Add("\"")
	d := token.NewDigester()
	f.Fuzz(func(t *testing.T, text string) {
		tokens, _, err := parse(strings.NewReader(text), d)
		if _, known := tokens[d.Digest("")]; known {
			t.Error("the empty token is known")
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error may quote the file: %v", err)
		}
	})
}

// TestTokenFileAsKube runs inputs through both readings. Where they differ, or
// where the token is refused later, the file's reading says so.
func TestTokenFileAsKube(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		// differs: kube has another identity, for want of a rule of ours
		differs *user.DefaultInfo
		notes   []string
	}{
		"plain":                    {text: "s3cret,alice,1\n"},
		"groups":                   {text: `s3cret,alice,1,"devs,ops"` + "\n"},
		"no last newline":          {text: "s3cret,alice,1"},
		"CRLF":                     {text: "s3cret,alice,1\r\nother,bob,2\r\n"},
		"quoted token":             {text: `"s3cret",alice,1` + "\n"},
		"a comma in the name":      {text: `s3cret,"Doe, Alice",1` + "\n"},
		"a quote in the name":      {text: `s3cret,"a ""b"" c",1` + "\n"},
		"blank lines":              {text: "\n\ns3cret,alice,1\n\n"},
		"a token with a hash":      {text: "#x,bob,1\ns3cret,alice,1\n"},
		"a line of a comment":      {text: "# comment\ns3cret,alice,1\n"},
		"two columns":              {text: "s3cret,alice\n"},
		"five columns":             {text: "s3cret,alice,1,devs,ops\n"},
		"a quote that stands free": {text: `s3cret,al"ice,1` + "\n"},
		"an open quote":            {text: `s3cret,"alice,1` + "\n"},
		"tabs":                     {text: "s3cret\talice\t1\n"},
		"a byte order mark":        {text: "\ufeffs3cret,alice,1\n"},
		"only an empty token":      {text: ",,\n", notes: []string{"line 1 has no token"}},
		"an empty token":           {text: ",bob,1\ns3cret,alice,1\n", notes: []string{"line 1 has no token"}},
		"twice":                    {text: "s3cret,bob,1\ns3cret,alice,1\n", notes: []string{"the token of line 2 is also in an earlier line"}},
		"a blank before the token": {text: " s3cret,alice,1\n"},

		"a blank in the groups":      {text: `s3cret,alice,1,"devs, ops"` + "\n", notes: []string{"the token of line 1 is refused (401): group 2 "}},
		"a blank before the name":    {text: "other,bob,1\ns3cret, alice,1\n", notes: []string{"the token of line 2 is refused (401): the user name "}},
		"a blank before the UID":     {text: "s3cret,alice, 1\n", notes: []string{"the token of line 1 is refused (401): the user UID "}},
		"no name":                    {text: "s3cret,,1\n", notes: []string{"the token of line 1 is refused (401): the user name "}},
		"a line break in the name":   {text: "s3cret,\"a\nb\",1\n", notes: []string{"the token of line 1 is refused (401): the user name "}},
		"everything that is refused": {text: "s3cret, alice ,1 ,\" a,b,c \"\n", notes: []string{"the user name ", "the user UID ", "group 1 ", "group 3 "}},

		"an empty group":  {text: `s3cret,alice,1,"devs,,ops"` + "\n", differs: &user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", "", "ops"}}},
		"an empty column": {text: "s3cret,alice,1,\n", differs: &user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{""}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "tokens.csv")
			authntest.WriteFile(t, file, tc.text)
			kube, kubeErr := tokenfile.NewCSV(file)
			d := token.NewDigester()
			ours, notes, err := parse(strings.NewReader(tc.text), d)
			if (kubeErr == nil) != (err == nil) {
				t.Fatalf("kube: %v; ours: %v", kubeErr, err)
			}
			if err != nil {
				return
			}
			for _, token := range []string{"s3cret", " s3cret", "other", "#x", "", "\ufeffs3cret", "alice"} {
				var want user.Info
				if resp, ok, _ := kube.AuthenticateToken(t.Context(), token); ok {
					want = resp.User
				}
				got := ours[d.Digest(token)]
				if want != nil && tc.differs != nil {
					if diff := cmp.Diff(user.Info(tc.differs), want); diff != "" {
						t.Errorf("kube no longer differs as the table says (-table +kube):\n%s", diff)
					}
					differs := *tc.differs
					differs.Groups = slices.DeleteFunc(slices.Clone(differs.Groups), func(g string) bool { return g == "" })
					want = &differs
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("token %q (-kube +ours):\n%s", token, diff)
				}
			}
			if len(notes) != len(tc.notes) {
				t.Fatalf("notes %q, want %q", notes, tc.notes)
			}
			for i, want := range tc.notes {
				if !strings.Contains(notes[i], want) || strings.Contains(notes[i], "cret") || strings.Contains(notes[i], "alice") {
					t.Errorf("note %q, want %q and nothing of the file", notes[i], want)
				}
			}
		})
	}
}

// TestTokenFileSaysWhatIsRefused: every note that a token is refused is true, and
// no token is refused without one.
func TestTokenFileSaysWhatIsRefused(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"x", " x", "x ", "x y", "\u00a0x", "x\ty", "x\u0085y", "ü", "\xff", "x\x7f"} {
		for part, line := range map[string][]string{"name": {"token", value, "1"}, "UID": {"token", "name", value}, "group": {"token", "name", "1", value}} {
			var b strings.Builder
			w := csv.NewWriter(&b)
			if err := w.Write(line); err != nil {
				t.Fatal(err)
			}
			w.Flush()
			d := token.NewDigester()
			tokens, notes, err := parse(strings.NewReader(b.String()), d)
			if err != nil {
				t.Fatal(err)
			}
			if refused := identity.Check(tokens[d.Digest("token")]); (refused != nil) != (len(notes) > 0) {
				t.Errorf("%s %q: refused with %v, noted %q", part, value, refused, notes)
			}
		}
	}
}
