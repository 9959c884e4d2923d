package shards

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
)

const (
	firstFrame = 16 << 10
	maxFrame   = 64 << 20
)

// frames cuts a watch into its events: an API server sends each as a line.
type frames struct{ lines *bufio.Scanner }

func newFrames(r io.Reader) frames {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, firstFrame), maxFrame)
	lines.Split(wholeLine)
	return frames{lines}
}

// wholeLine is a bufio.SplitFunc. A last line that does not end is dropped: the watch was
// cut within it, and the next one sends it again.
func wholeLine(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		return end + 1, data[:end], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// next returns the next line that is not blank, valid until the following call; io.EOF at
// the end.
func (f frames) next() ([]byte, error) {
	for f.lines.Scan() {
		if line := bytes.TrimSpace(f.lines.Bytes()); len(line) > 0 {
			return line, nil
		}
	}
	err := f.lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("an event of more than %d bytes", maxFrame)
	}
	return nil, cmp.Or(err, io.EOF)
}
