//go:build browser

package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// chromium is a headless browser with one page, driven by its DevTools protocol.
type chromium struct {
	t       *testing.T
	conn    *websocket.Conn
	session string
	next    int
}

var devTools = regexp.MustCompile(`DevTools listening on (ws://\S+)`)

func startChromium(t *testing.T) *chromium {
	t.Helper()
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors",
		"--no-first-run", "--disable-background-networking", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "--window-size=900,700", "about:blank")
	errors, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(errors)
	for lines.Scan() {
		if m := devTools.FindStringSubmatch(lines.Text()); m != nil {
			conn, _, err := websocket.DefaultDialer.Dial(m[1], nil)
			check(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				for lines.Scan() { // whoever does not read stops it
				}
			}()
			c := &chromium{t: t, conn: conn}
			c.attach()
			return c
		}
	}
	t.Fatal("chromium did not say where to reach it")
	return nil
}

func (c *chromium) attach() {
	var target struct{ TargetID string }
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	c.call("Page.enable", nil, nil)
}

// call calls a method of the protocol and waits for its answer.
func (c *chromium) call(method string, params any, result any) {
	c.t.Helper()
	c.next++
	id := c.next
	if params == nil {
		params = map[string]any{}
	}
	message := map[string]any{"id": id, "method": method, "params": params}
	if c.session != "" {
		message["sessionId"] = c.session
	}
	check(c.t, c.conn.SetReadDeadline(time.Now().Add(time.Minute)))
	check(c.t, c.conn.WriteJSON(message))
	for {
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		check(c.t, c.conn.ReadJSON(&answer))
		if answer.ID != id {
			continue // an event
		}
		if answer.Error != nil {
			c.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		if result != nil {
			check(c.t, json.Unmarshal(answer.Result, result))
		}
		return
	}
}

func (c *chromium) open(page string) {
	c.t.Helper()
	c.call("Page.navigate", map[string]any{"url": page}, nil)
}

// eval is the value of an expression in the page, as text; empty while there is no
// page to ask.
func (c *chromium) eval(expression string) string {
	c.t.Helper()
	var out struct {
		Result struct{ Value any }
	}
	c.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &out)
	if out.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(out.Result.Value)
}

// picture keeps what the page looks like.
func (c *chromium) picture(file string) {
	c.t.Helper()
	var shot struct{ Data string }
	c.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	check(c.t, err)
	check(c.t, os.WriteFile(file, data, 0o600))
}

// click clicks the middle of what a selector finds, as a mouse does.
func (c *chromium) click(selector string) {
	c.t.Helper()
	box := c.eval(fmt.Sprintf(`(() => { const b = document.querySelector(%q); b.scrollIntoView(); const r = b.getBoundingClientRect(); return (r.x + r.width/2) + " " + (r.y + r.height/2) })()`, selector))
	var x, y float64
	if _, err := fmt.Sscan(box, &x, &y); err != nil {
		c.t.Fatalf("where is %s: %q", selector, box)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		c.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}, nil)
	}
}

// write clicks a field and types.
func (c *chromium) write(selector, text string) {
	c.t.Helper()
	c.click(selector)
	c.call("Input.insertText", map[string]any{"text": text}, nil)
}

// await waits until an expression is true in the page.
func (c *chromium) await(what, expression string) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for c.eval("!!("+expression+")") != "true" {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: it did not come to that, but to %s\n%s", what, c.eval("location.href"), strings.TrimSpace(c.eval("document.body && document.body.innerText")))
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
