package authn

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
)

func writeTestFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

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
		"empty file":                {token: "s3cret"},
		"too few columns":           {text: "x,bob,1\n\ns3cret,alice\n", wantErr: "line 3 has 2 columns"},
		"a quote within a field":    {text: "x,bob,1\ns3\"cret,alice,1\n", wantErr: "line 2, column"},
		"a quote that never closes": {text: "x,bob,1\n\"s3cret,alice,1\n", wantErr: "line 2, column"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens.csv")
			writeTestFile(t, file, tc.text)
			f, err := NewTokenFile(file, klog.Logger{})
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
			got, until, err := f.AuthenticateToken(t.Context(), Token{Raw: tc.token})
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
	if _, err := NewTokenFile(file, klog.Logger{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name the file", err)
	}
}

// knows says whether a token is known to f.
func (f *TokenFile) knows(raw string) bool {
	u, _, _ := f.AuthenticateToken(context.Background(), Token{Raw: raw})
	return u != nil
}

func TestTokenFileReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.csv")
	writeTestFile(t, file, "one,alice,1\n")
	f, err := NewTokenFile(file, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, file, "two\n")
	if err := f.Reload(); err == nil {
		t.Error("a bad file is no error")
	}
	if f.LastError() == nil || !f.knows("one") {
		t.Error("the last good file is not kept")
	}
	writeTestFile(t, file, "two,alice,1\n")
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if f.LastError() != nil || f.knows("one") || !f.knows("two") {
		t.Error("the file was not reloaded")
	}
	// Back to what was read before the bad file.
	writeTestFile(t, file, "")
	if err := f.Reload(); err != nil || f.knows("two") {
		t.Errorf("a token outlives its line (%v)", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || f.knows("two") {
		t.Error("a missing file changes the tokens")
	}
}

func TestTokenFileRunFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.csv")
	writeTestFile(t, file, "one,alice,1\n")
	f, err := NewTokenFile(file, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	follow(t, f.Run, func() { writeTestFile(t, file, "two,alice,1\n") }, func() bool { return f.knows("two") })
}

// follow runs, makes a change and waits until it is seen.
func follow(t *testing.T, run func(context.Context) error, change func(), seen func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx)
	}()
	change()
	for tick := time.NewTicker(5 * time.Millisecond); !seen(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the change was never seen")
		}
	}
	cancel()
	<-done
}

func FuzzTokenFile(f *testing.F) {
	f.Add("token,name,uid,\"a,b\"\n")
	f.Add("a,b\n")
	f.Add("\"")
	d := newDigester()
	f.Fuzz(func(t *testing.T, text string) {
		tokens, _, err := parseTokenFile(strings.NewReader(text), d)
		if _, known := tokens[d.digest("")]; known {
			t.Error("the empty token is known")
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error may quote the file: %v", err)
		}
	})
}
