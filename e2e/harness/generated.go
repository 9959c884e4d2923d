package harness

import (
	"fmt"
	"os"
	"strings"
)

// MachineLoad is the load average of five minutes, or "unknown".
func MachineLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
		return fields[1]
	}
	return "unknown"
}

// WriteGenerated puts text into the part of a page that a command generates: what
// lies between the line `<!-- generated: COMMAND -->` and the next
// `<!-- end of generated -->`.
func WriteGenerated(page, command, text string) error {
	begin, end := "<!-- generated: "+command+" -->\n", "<!-- end of generated -->\n"
	content, err := os.ReadFile(page) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(content), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return fmt.Errorf("%s has no generated part: the lines %q and %q", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+"\n"+text+"\n"+end+after), 0o644) //nolint:gosec // for everybody
}
