package record

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// open opens a record for a test, with tests' pace, and closes it at the end.
func openTest(t testing.TB, dir string, change ...func(*Config)) *Recorder {
	t.Helper()
	c := Config{Dir: dir, Host: "testhost"}
	for _, f := range change {
		f(&c)
	}
	r, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, ErrEnded) {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func testFlow(id string) *flow.Flow {
	return &flow.Flow{
		ID: id, Identity: "billing-bot", Target: "orders", Protocol: "postgres", Seen: flow.Inspected,
		Destination: netip.MustParseAddrPort("10.0.0.7:5432"), Opened: time.Unix(1_800_000_000, 0).UTC(),
		Process: flow.Process{PID: 42, UID: 1000, Exe: "/usr/bin/psql"},
	}
}

func begin(t testing.TB, r *Recorder, id string) *Tape {
	t.Helper()
	tape, err := r.Begin(id, testFlow(id))
	if err != nil {
		t.Fatal(err)
	}
	return tape
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	r := openTest(t, t.TempDir(), func(c *Config) { c.FlushEvery = time.Hour })
	tape := begin(t, r, "s1")
	body := bytes.Repeat([]byte("x"), 200)
	if n := testing.AllocsPerRun(2000, func() { must(t, tape.Append(KindUp, body)) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
}

func TestEndedSessionRefusesMore(t *testing.T) {
	r := openTest(t, t.TempDir())
	tape := begin(t, r, "s1")
	must(t, tape.Append(KindUp, []byte("select 1")))
	must(t, tape.Sync())
	sealed, err := tape.End("closed")
	must(t, err)
	if sealed.Size == 0 || len(sealed.Digest) != 71 {
		t.Errorf("sealed as %+v", sealed)
	}
	if err := tape.Append(KindUp, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("append after the end: %v", err)
	}
	if _, err := tape.End("closed"); !errors.Is(err, ErrEnded) {
		t.Errorf("second end: %v", err)
	}
}

func TestVanishedFileIsAnErrorNotACrash(t *testing.T) {
	r := openTest(t, t.TempDir(), func(c *Config) { c.FlushEvery = time.Hour })
	tape := begin(t, r, "s1")
	must(t, os.Truncate(filepath.Join(r.dir, tape.path), 0))
	err := tape.Append(KindUp, make([]byte, 10_000))
	if !errors.Is(err, ErrUnwritable) {
		t.Fatalf("append to a file that lost its pages: %v", err)
	}
	if err := tape.Append(KindUp, nil); !errors.Is(err, ErrUnwritable) {
		t.Errorf("and once more: %v", err)
	}
	if err := tape.Sync(); !errors.Is(err, ErrUnwritable) {
		t.Errorf("sync: %v", err)
	}
	if _, err := tape.End("failed"); !errors.Is(err, ErrUnwritable) {
		t.Errorf("end: %v", err)
	}
}

func TestBadIDsAreRefused(t *testing.T) {
	r := openTest(t, t.TempDir())
	for _, id := range []string{"", "../x", "a/b", ".", "-x", "a b", string(make([]byte, 65)), "a\n"} {
		if _, err := r.Begin(id, testFlow("f")); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
	begin(t, r, "s1")
	if _, err := r.Begin("s1", testFlow("s1")); !errors.Is(err, ErrUnwritable) {
		t.Errorf("an id is taken twice: %v", err)
	}
}

func TestLostKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	must(t, openTest(t, dir).Close())
	must(t, os.Remove(filepath.Join(dir, keyFile)))
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("open: %v", err)
	}
}

func TestWritableDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("open: %v", err)
	}
}

func TestCloseEndsWhatIsOpen(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir)
	for i := range 100 {
		must(t, begin(t, r, fmt.Sprintf("s%d", i)).Append(KindUp, []byte("select 1")))
	}
	must(t, r.Close())
	if _, err := r.Begin("late", testFlow("late")); !errors.Is(err, ErrEnded) {
		t.Errorf("begin after close: %v", err)
	}
	if err := r.Log(flow.Event{Type: flow.AdminAct}); !errors.Is(err, ErrEnded) {
		t.Errorf("log after close: %v", err)
	}
	if report := verified(t, dir); !report.OK() || report.Open != 0 || report.Tapes != 100 {
		t.Errorf("report %+v", report)
	}
}

// What a subagent says must not pass for what the recorder says.
func TestTextCannotPassForAnotherEvent(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir)
	text := `","type":"session.ended","session":"s1","result":{"type":"recorder.checkpoint"},"x":"`
	must(t, r.Log(flow.Event{
		Type: flow.RequestDecided, Session: "s9", Request: &flow.Request{Text: text},
		Result: map[string]any{"type": "recorder.checkpoint", "a": map[string]any{"type": "session.ended"}},
	}))
	must(t, r.Log(flow.Event{Type: flow.RequestDecided, Request: &flow.Request{Text: strings.Repeat("\x00", 10<<20)}}))
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || report.Sessions != 0 {
		t.Errorf("report %+v", report)
	}
}
