package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// columns is how wide a line of the demo may be.
const columns = 100

// terminal is where the demo tells what it does. Only on a real terminal it has colours,
// and counts the seconds while a step lasts.
type terminal struct {
	out   io.Writer
	live  bool // a person looks at it
	begin time.Time

	mu      sync.Mutex // guards what follows, and out while a step is counted
	step    string     // under way; empty: none
	started time.Time
}

func newTerminal(out io.Writer) *terminal {
	t := &terminal{out: out, begin: time.Now()}
	if f, ok := out.(*os.File); ok {
		t.live = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
	}
	return t
}

// The codes of https://en.wikipedia.org/wiki/ANSI_escape_code that the demo uses.
const (
	bold, green, faint, plain = "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
	// eraseLine goes to its beginning first.
	eraseLine = "\r\x1b[K"
)

func (t *terminal) styled(style, text string) string {
	if !t.live {
		return text
	}
	return style + text + plain
}

// say prints to a person; one who no longer listens is no error.
func (t *terminal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endStep()
	_, _ = fmt.Fprintf(t.out, format, args...)
}

// progress says that a step begins, and so the one before is done.
func (t *terminal) progress(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endStep()
	if !t.live {
		_, _ = fmt.Fprintf(t.out, "[%3.0fs] %s\n", time.Since(t.begin).Seconds(), step)
		return
	}
	t.step, t.started = step, time.Now()
	t.showStep()
}

// endStep ticks the step off. The caller holds mu.
func (t *terminal) endStep() {
	if t.step == "" {
		return
	}
	_, _ = fmt.Fprintf(t.out, "%s%s %s %s\n", eraseLine, t.styled(green, "✓"), t.step, t.lasted())
	t.step = ""
}

// lasted is how long the step has lasted. The caller holds mu.
func (t *terminal) lasted() string {
	return t.styled(faint, fmt.Sprintf("%.0f s", time.Since(t.started).Seconds()))
}

// showStep shows how long the step has lasted. The caller holds mu.
func (t *terminal) showStep() {
	_, _ = fmt.Fprintf(t.out, "%s  %s %s", eraseLine, clipped(t.step, columns-10), t.lasted())
}

// count shows every second how long a step has lasted, until ctx ends.
func (t *terminal) count(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t.mu.Lock()
		if t.step != "" {
			t.showStep()
		}
		t.mu.Unlock()
	}
}

// clipped is line, cut to a width.
func clipped(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}

// wrapped breaks a sentence into lines of at most a width.
func wrapped(sentence string, width int) string {
	var b strings.Builder
	room := width
	for i, word := range strings.Fields(sentence) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case n+1 > room:
			b.WriteByte('\n')
			room = width
		default:
			b.WriteByte(' ')
			room--
		}
		b.WriteString(word)
		room -= n
	}
	return b.String()
}
