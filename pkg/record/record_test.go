package record

import (
	"bytes"
	"errors"
	"net/netip"
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
