package authn

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// tokenFileFlag names the file in errors.
const tokenFileFlag = "--token-auth-file" //nolint:gosec // a flag, no secret

// TokenFile knows the static tokens of a CSV file: token, user name, user UID
// and optionally the groups, in one quoted column. It follows the file while Run
// runs; kcp reads it once.
//
// Tokens are kept and compared as HMACs under a key of this process: how long a
// comparison takes tells nothing of a token, and memory holds none.
type TokenFile struct {
	file     string
	log      klog.Logger
	digester *digester

	tokens atomic.Pointer[map[digest]user.Info]

	outcome filewatch.Outcome

	reading  sync.Mutex // serialises Reload; guards what follows
	lastText []byte     // its digest
}

// NewTokenFile reads the file of --token-auth-file.
func NewTokenFile(file string, log klog.Logger) (*TokenFile, error) {
	f := &TokenFile{file: file, log: log, digester: newDigester()}
	return f, f.Reload()
}

// Name implements TokenAuthenticator.
func (f *TokenFile) Name() string { return "token-file" }

// AuthenticateToken implements TokenAuthenticator. A token that is not in the
// file is not of its kind.
func (f *TokenFile) AuthenticateToken(_ context.Context, t Token) (user.Info, time.Time, error) {
	return (*f.tokens.Load())[f.digester.digest(t.Raw)], time.Time{}, nil
}

// Run follows the file until ctx ends.
func (f *TokenFile) Run(ctx context.Context) error {
	filewatch.Watch(ctx, clock.RealClock{}, f.log, []string{f.file}, func() { _ = f.Reload() })
	return nil
}

// Reload reads the file again. On an error, which it also logs, the tokens read
// before stay in use.
func (f *TokenFile) Reload() error {
	f.reading.Lock()
	defer f.reading.Unlock()
	err := f.load()
	if f.outcome.Set(err) && f.tokens.Load() != nil {
		f.log.Error(err, "The token file was not reloaded; the tokens read before stay in use")
	}
	return err
}

// LastError is why the last reading of the file failed; nil when it did not.
func (f *TokenFile) LastError() error { return f.outcome.LastError() }

func (f *TokenFile) load() error {
	text, err := os.ReadFile(f.file) //nolint:gosec // the operator names it
	if err != nil {
		return fmt.Errorf("%s: %w", tokenFileFlag, err)
	}
	sum := f.digester.digest(string(text))
	if string(f.lastText) == string(sum[:]) && f.tokens.Load() != nil {
		return nil
	}
	tokens, notes, err := parseTokenFile(strings.NewReader(string(text)), f.digester)
	if err != nil {
		return fmt.Errorf("%s %q: %w", tokenFileFlag, f.file, err)
	}
	for _, note := range notes {
		f.log.Info("The token file has a line that does not count", "file", f.file, "note", note)
	}
	if f.tokens.Load() != nil {
		f.log.Info("The token file was reloaded", "file", f.file, "tokens", len(tokens))
	}
	f.tokens.Store(&tokens)
	f.lastText = sum[:]
	return nil
}

// parseTokenFile reads the lines as kube does: of two with the same token the
// last counts, and one with an empty token does not; notes says which. Errors
// and notes name lines, never what is in them.
func parseTokenFile(r io.Reader, d *digester) (tokens map[digest]user.Info, notes []string, err error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = -1
	tokens = map[digest]user.Info{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return tokens, notes, nil
		}
		if err != nil {
			return nil, nil, err // names line and column, never the text
		}
		line, _ := reader.FieldPos(0)
		if len(record) < 3 {
			return nil, nil, fmt.Errorf("line %d has %d columns; it needs token, user name and user UID, and may have groups", line, len(record))
		}
		if record[0] == "" {
			notes = append(notes, fmt.Sprintf("line %d has no token", line))
			continue
		}
		u := &user.DefaultInfo{Name: record[1], UID: record[2]}
		if len(record) > 3 && record[3] != "" {
			u.Groups = strings.Split(record[3], ",")
		}
		key := d.digest(record[0])
		if _, twice := tokens[key]; twice {
			notes = append(notes, fmt.Sprintf("the token of line %d is in a line before, which does not count", line))
		}
		tokens[key] = u
	}
}
