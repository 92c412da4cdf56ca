package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestSessionsAreListedWhileOpenAndAfter(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir)
	tape := begin(t, r, "s1")
	must(t, tape.Append(KindVerdict, []byte("{}")))
	reader, err := OpenReader(dir)
	must(t, err)
	s, err := reader.Session("s1")
	must(t, err)
	if s.State != StateOpen || s.Identity != "billing-bot" || s.Target != "orders" || s.Protocol != "postgres" || s.Start.IsZero() {
		t.Errorf("open: %+v", s)
	}
	sealed, err := tape.End("killed")
	must(t, err)
	s, err = reader.Session("s1")
	must(t, err)
	if s.State != StateEnded || s.Outcome != "killed" || s.Requests != 1 || s.Size != sealed.Size || s.Digest != sealed.Digest || s.End.Before(s.Start) {
		t.Errorf("ended: %+v", s)
	}
	if _, err := reader.Session("s2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such session: %v", err)
	}
}

func TestOpenTapeIsReadToItsMovingEnd(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir)
	tape := begin(t, r, "s1")
	reader, err := OpenReader(dir)
	must(t, err)
	s, err := reader.Session("s1")
	must(t, err)
	in, err := reader.Tape(s)
	must(t, err)
	defer in.Close()
	e, err := in.Next()
	must(t, err)
	var f flow.Flow
	must(t, json.Unmarshal(e.Body, &f))
	if e.Kind != KindMeta || f.Identity != "billing-bot" {
		t.Errorf("first entry %v %s", e.Kind, e.Body)
	}
	for n := range 300 { // across several windows
		if _, err := in.Next(); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
		must(t, tape.Append(KindUp, tapeBytes(1, n)))
		e, err := in.Next()
		must(t, err)
		if !bytes.Equal(e.Body, tapeBytes(1, n)) {
			t.Fatalf("entry %d", n)
		}
	}
	_, err = tape.End("closed")
	must(t, err)
	if e, err = in.Next(); err != nil || e.Kind != KindEnd {
		t.Errorf("last entry %v, %v", e.Kind, err)
	}
}

func TestFollowSeesWhatIsLoggedLater(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.SegmentBytes = 2 << 10 })
	reader, err := OpenReader(dir)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		for i := range 50 {
			if err := r.Log(flow.Event{Type: flow.AdminAct, Session: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	next, seq := 0, uint64(0)
	for ev, err := range reader.Follow(ctx, 0) {
		must(t, err)
		if ev.Seq != seq+1 {
			t.Fatalf("entry %d behind %d", ev.Seq, seq)
		}
		seq = ev.Seq
		if ev.Type != flow.AdminAct {
			continue
		}
		if ev.Session != fmt.Sprint(next) {
			t.Fatalf("event %s, want %d", ev.Session, next)
		}
		if next++; next == 50 {
			break
		}
	}
	if next != 50 {
		t.Errorf("followed %d events", next)
	}
}

func TestEventsFromANumber(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	all := events(t, dir)
	reader, err := OpenReader(dir)
	must(t, err)
	for _, from := range []uint64{1, 2, 50, uint64(len(all)), uint64(len(all)) + 1} {
		want, n := from, 0
		for ev, err := range reader.Events(from) {
			must(t, err)
			if ev.Seq != want {
				t.Fatalf("from %d: entry %d", from, ev.Seq)
			}
			want++
			n++
		}
		if n != len(all)+1-int(from) {
			t.Errorf("from %d: %d events of %d", from, n, len(all))
		}
	}
}

func TestExportIsTheChainsBytes(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	reader, err := OpenReader(dir)
	must(t, err)
	var out bytes.Buffer
	must(t, reader.Export(&out, 0))
	var head chain
	n := 0
	for line := range bytes.Lines(out.Bytes()) {
		head = head.next(bytes.TrimSuffix(line, []byte("\n")))
		n++
	}
	report := verified(t, dir)
	r := openTest(t, dir) // adds entries behind
	defer r.Close()
	if n != int(report.Entries) {
		t.Errorf("%d lines, %d entries", n, report.Entries)
	}
	for range reader.Events(report.Last + 1) {
		n++
	}
	if m := r.Mark(); m.Seq != uint64(n) || head == (chain{}) {
		t.Errorf("mark %+v behind %d entries", m, n)
	}
}

func tapeContent(t testing.TB, r *Recorder, tape *Tape) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, tape.path))
	must(t, err)
	return b
}

func writeSegment(t *testing.T, dir string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "log"), 0o700))
	must(t, os.WriteFile(segmentAt(filepath.Join(dir, "log"), 1).path, b, 0o600))
}

func FuzzTapeReader(f *testing.F) {
	dir := f.TempDir()
	r := openTest(f, dir)
	tape := begin(f, r, "s1")
	must(f, tape.Append(KindUp, []byte("select 1")))
	_, err := tape.End("closed")
	must(f, err)
	f.Add(tapeContent(f, r, tape))
	f.Add([]byte(tapeMagic + "12345678\x09\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := newTapeReader(bytes.NewReader(b))
		for n := 0; err == nil; n++ {
			var e Entry
			if e, err = in.Next(); err == nil && len(e.Body) > len(b) || n > len(b) {
				t.Fatal("more is read than there is")
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrTorn) {
			t.Fatalf("ends with %v", err)
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(segmentHeader(1, chain{}))
	b, head := appendEntry(segmentHeader(1, chain{}), []byte(`{"v":1,"seq":0,"type":"x"}`), 1, chain{})
	b, _ = appendEntry(b, []byte(`{"v":1,"seq":0,"type":"session.started","session":"s"}`), 2, head)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := 0
		end, err := walk(b, func(int64, uint64, entry) error { seen++; return nil })
		if err == nil && end != int64(len(b)) || end > int64(len(b)) {
			t.Fatalf("ends at %d of %d", end, len(b))
		}
		if err != nil && end > 0 {
			_ = resync(b, end)
		}
		dir := t.TempDir()
		writeSegment(t, dir, b)
		reader := &Reader{dir: dir}
		read := 0
		for _, err := range reader.Events(0) {
			if err == nil {
				read++
			}
		}
		if read > len(b)/entryHead {
			t.Fatalf("%d entries in %d bytes, %d of them chained", read, len(b), seen)
		}
	})
}
