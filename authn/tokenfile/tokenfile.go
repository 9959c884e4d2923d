package tokenfile

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/internal/filewatch"
)

// flag names the file in errors.
const flag = "--token-auth-file" //nolint:gosec // a flag, no secret

// Authenticator knows the static tokens of a CSV file: token, user name, user UID
// and optionally the groups, in one quoted column. It follows the file while Run
// runs; kcp reads it once.
//
// Tokens are kept and compared as HMACs under a key of this process: the time that a
// comparison takes reveals nothing about a token, and memory holds none.
type Authenticator struct {
	*filewatch.File[map[token.Digest]user.Info]
	digester *token.Digester
}

// New reads the file of --token-auth-file. A nil clock is the real one. The log gets
// a line about each line that has no effect, or whose token will be refused.
func New(file string, clk clock.Clock, log klog.Logger) (*Authenticator, error) {
	f := &Authenticator{digester: token.NewDigester()}
	load := func(_ context.Context, read filewatch.ReadFunc) (map[token.Digest]user.Info, error) {
		text, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		tokens, notes, err := parse(bytes.NewReader(text), f.digester)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, file, err)
		}
		for _, note := range notes {
			log.Info("The token file has a line that has no effect or is refused", "file", file, "note", note)
		}
		return tokens, nil
	}
	var err error
	f.File, err = filewatch.New(filewatch.Config[map[token.Digest]user.Info]{Name: strings.TrimPrefix(flag, "--"), Load: load, Clock: clk, Log: log})
	return f, err
}

// Name implements token.Authenticator.
func (f *Authenticator) Name() string { return "token-file" }

// AuthenticateToken implements token.Authenticator. A token that is not in the
// file is not of its kind.
func (f *Authenticator) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	return f.Get()[f.digester.Digest(t.Raw)], time.Time{}, nil
}

// parse reads the lines as kube does: of two with the same token the
// last counts, and one with an empty token does not. Notes are what the operator
// should know: such lines, and tokens that will be refused since a shard would not
// read the identity as it stands here. Errors and notes name lines and columns,
// never what is in them.
func parse(r io.Reader, d *token.Digester) (tokens map[token.Digest]user.Info, notes []string, err error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = -1
	tokens = map[token.Digest]user.Info{}
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
			u.Groups = slices.DeleteFunc(strings.Split(record[3], ","), func(g string) bool { return g == "" })
		}
		notes = append(notes, refusedLine(line, u)...)
		key := d.Digest(record[0])
		if _, twice := tokens[key]; twice {
			notes = append(notes, fmt.Sprintf("the token of line %d is also in an earlier line, which has no effect", line))
		}
		tokens[key] = u
	}
}

// refusedLine says which parts of a line's identity have its token refused
// (identity.Check).
func refusedLine(line int, u *user.DefaultInfo) (notes []string) {
	note := func(part string, probe user.DefaultInfo) {
		if identity.Check(&probe) != nil {
			notes = append(notes, fmt.Sprintf("the token of line %d is refused (401): %s is empty, or has white space around it or a character that shards do not accept", line, part))
		}
	}
	note("the user name", user.DefaultInfo{Name: u.Name})
	note("the user UID", user.DefaultInfo{Name: "name", UID: u.UID})
	for i, g := range u.Groups {
		note(fmt.Sprintf("group %d", i+1), user.DefaultInfo{Name: "name", Groups: []string{g}})
	}
	return notes
}

// Describe implements describer.
func (f *Authenticator) Describe() []authstatus.Authenticator {
	s := authstatus.Authenticator{Name: f.Name(), State: authstatus.Ready, Detail: fmt.Sprintf("%d tokens", len(f.Get()))}
	return authstatus.NotReloaded([]authstatus.Authenticator{s}, f.LastError())
}
