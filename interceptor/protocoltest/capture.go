package protocoltest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// Captures are what real clients and servers said to each other, as conversations:
// testdata/captures/<protocol>/<name>.txt, one line a step,
//
//	> "what the client sent, as a Go string"
//	< "what the server sent"
//
// from the first byte after authentication. They are conversations for Run and seeds for Fuzz.
func Captures(t testing.TB, protocol string) []Conversation {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(captureDir(t, protocol), "*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no captures of %s (%v)", protocol, err)
	}
	var all []Conversation
	for _, name := range names {
		steps, err := readCapture(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, Conversation{Name: strings.TrimSuffix(filepath.Base(name), ".txt"), Questions: -1, Steps: steps})
	}
	return all
}

// KeepCapture writes what a tape holds as a capture, when CAPTURE is set:
//
//	CAPTURE=1 go test ./interceptor/...
func KeepCapture(t testing.TB, protocol, name string, tape []Entry) {
	t.Helper()
	if os.Getenv("CAPTURE") == "" {
		return
	}
	var steps []Step
	for _, e := range tape {
		dir, ok := map[interceptor.TapeKind]interceptor.Direction{interceptor.TapeUp: interceptor.Up, interceptor.TapeDown: interceptor.Down}[e.Kind]
		if !ok {
			continue
		}
		if n := len(steps); n > 0 && steps[n-1].Dir == dir {
			steps[n-1].Bytes = append(steps[n-1].Bytes, e.Body...)
			continue
		}
		steps = append(steps, Step{Dir: dir, Bytes: bytes.Clone(e.Body)})
	}
	var text strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&text, "%s %s\n", map[interceptor.Direction]string{interceptor.Up: ">", interceptor.Down: "<"}[s.Dir], strconv.QuoteToASCII(string(s.Bytes)))
	}
	dir := captureDir(t, protocol)
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text.String()), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readCapture(name string) ([]Step, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var steps []Step
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		way, quoted, _ := strings.Cut(lines.Text(), " ")
		said, err := strconv.Unquote(quoted)
		if err != nil || way != ">" && way != "<" {
			return nil, fmt.Errorf("line %d: want > or <, and a quoted string", len(steps)+1)
		}
		dir := interceptor.Up
		if way == "<" {
			dir = interceptor.Down
		}
		steps = append(steps, Step{Dir: dir, Bytes: []byte(said)})
	}
	return steps, lines.Err()
}

// captureDir is where a protocol's captures are; tests run in their package's folder.
func captureDir(t testing.TB, protocol string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "captures", protocol)
		}
	}
	t.Fatal("no go.mod above the test's folder")
	return ""
}
