package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

// events are the log's events, which must be readable.
func events(t *testing.T, dir string) []flow.Event {
	t.Helper()
	r, err := OpenReader(dir)
	must(t, err)
	var list []flow.Event
	for ev, err := range r.Events(0) {
		must(t, err)
		list = append(list, ev)
	}
	return list
}

// find is the last event of a type.
func find(t *testing.T, list []flow.Event, kind string) flow.Event {
	t.Helper()
	for _, ev := range slices.Backward(list) {
		if ev.Type == kind {
			return ev
		}
	}
	t.Fatalf("no %s event", kind)
	return flow.Event{}
}

func TestLogGoesOnAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		r := openTest(t, dir, func(c *Config) { c.SegmentBytes = 4 << 10 })
		for range 10 {
			must(t, r.Log(flow.Event{Type: flow.AdminAct, Result: map[string]any{"act": "reload"}}))
		}
		must(t, r.Close())
	}
	list := events(t, dir)
	for i, ev := range list {
		if ev.Seq != uint64(i+1) || ev.Host != "testhost" || ev.V != 1 || ev.Time.IsZero() {
			t.Fatalf("event %d: %+v", i, ev)
		}
	}
	if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 || report.Entries != uint64(len(list)) {
		t.Errorf("report %+v", report)
	}
}

func TestTornTailIsCut(t *testing.T) {
	for _, left := range []int64{1, 7, 39, 60} {
		dir := t.TempDir()
		sample(t, dir, func(c *Config) { c.SegmentBytes = 1 << 30 })
		path := filepath.Join(dir, "log", "0001.log")
		at := places(t, path)
		last := at[len(at)-1]
		must(t, os.Truncate(path, last.off+left))
		if report := verified(t, dir); !report.OK() || len(report.Doubts) == 0 || report.Doubts[0].Offset != last.off {
			t.Errorf("before the restart: %+v", report)
		}
		r := openTest(t, dir)
		ev := find(t, events(t, dir), Recovered)
		if ev.Result["dropped_bytes"] != float64(left) || ev.Result["offset"] != float64(last.off) {
			t.Errorf("%d bytes left: %v", left, ev.Result)
		}
		must(t, r.Close())
		if report := verified(t, dir); !report.OK() || len(report.Doubts) != 1 || !strings.Contains(report.Doubts[0].What, "no closing checkpoint") {
			t.Errorf("after the restart: %+v", report)
		}
	}
}

func TestTornSegmentHeaderIsDropped(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	list, err := segments(filepath.Join(dir, "log"))
	must(t, err)
	next := segmentAt(filepath.Join(dir, "log"), list[len(list)-1].num+1)
	must(t, os.WriteFile(next.path, []byte("chaplog1\x01"), 0o600))
	r := openTest(t, dir)
	find(t, events(t, dir), Recovered)
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 {
		t.Errorf("report %+v", report)
	}
}

func TestBrokenLogIsLeftAndNamed(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir, func(c *Config) { c.SegmentBytes = 1 << 30 })
	path := filepath.Join(dir, "log", "0001.log")
	at := places(t, path)
	before, err := os.ReadFile(path)
	must(t, err)
	before[at[9].off+60] ^= 1
	must(t, os.WriteFile(path, before, 0o600))

	r := openTest(t, dir)
	must(t, r.Log(flow.Event{Type: flow.AdminAct}))
	must(t, r.Close())
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the damaged segment was written to")
	}
	reader, err := OpenReader(dir)
	must(t, err)
	var list []flow.Event
	var damage *Damage
	for ev, err := range reader.Events(0) {
		if errors.As(err, &damage) {
			continue
		}
		must(t, err)
		list = append(list, ev)
	}
	if damage == nil || damage.Offset != at[9].off || damage.Seq != at[9].seq {
		t.Errorf("reader says %v", damage)
	}
	ev := find(t, list, Broken)
	if ev.Result["offset"] != float64(at[9].off) || ev.Result["after_seq"] != float64(at[8].seq) || ev.Result["segment"] != "0001.log" {
		t.Errorf("event says %v", ev.Result)
	}
	if last := at[len(at)-1].seq; ev.Seq != last+2 {
		t.Errorf("went on at %d behind %d", ev.Seq, last)
	}
	report := verified(t, dir)
	if len(report.Broken) != 1 || report.Broken[0].Place != (Place{"log/0001.log", at[9].off, at[9].seq}) {
		t.Errorf("report %+v", report.Broken)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrBusy) {
		t.Errorf("second writer: %v", err)
	}
}

func TestExposedKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, openTest(t, dir).Close())
	must(t, os.Chmod(filepath.Join(dir, keyFile), 0o640))
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open: %v", err)
	}
}

// tapeBytes makes entry n of a writer checkable: its number, then its length's pattern.
func tapeBytes(writer, n int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(writer))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return append(b, bytes.Repeat([]byte{byte(n)}, n*37%3000)...)
}

// TestMain is also the daemon that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RECORD_TEST_VICTIM"); dir != "" {
		victim(dir)
	}
	os.Exit(leaks.Run(m))
}

// victim records until it is killed. It tells on stdout, for each writer, what it knows to be appended.
func victim(dir string) {
	r, err := Open(Config{Dir: dir, Host: "testhost", SegmentBytes: 32 << 10, CheckpointEntries: 20})
	if err != nil {
		panic(err)
	}
	var said sync.Mutex
	for w := range 64 {
		go func() {
			for s := 0; ; s++ {
				id := fmt.Sprintf("w%02d-%04d", w, s)
				tape, err := r.Begin(id, testFlow(id))
				if err != nil {
					panic(err)
				}
				for n := range 200 {
					if err := tape.Append(KindUp, tapeBytes(w, n)); err != nil {
						panic(err)
					}
					if n%50 == 0 {
						if err := tape.Sync(); err != nil {
							panic(err)
						}
					}
					said.Lock()
					fmt.Printf("%s %d\n", id, n)
					said.Unlock()
				}
				if _, err := tape.End("closed"); err != nil {
					panic(err)
				}
			}
		}()
	}
	select {}
}

func TestKilledRecorderLosesNothing(t *testing.T) {
	for round := range 3 {
		dir := t.TempDir()
		killVictim(t, dir, round)
	}
}

func killVictim(t *testing.T, dir string, round int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RECORD_TEST_VICTIM="+dir)
	cmd.Stderr = os.Stderr
	said, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var heard bytes.Buffer
	_, err = io.CopyN(&heard, said, int64(100_000+round*40_000))
	must(t, err)
	must(t, cmd.Process.Kill())
	rest, err := io.ReadAll(said)
	must(t, err)
	_ = cmd.Wait() // killed
	heard.Write(rest)
	last := map[string]int{}
	lines := strings.Split(heard.String(), "\n")
	for _, line := range lines[:len(lines)-1] {
		var id string
		var n int
		_, err := fmt.Sscanf(line, "%s %d", &id, &n)
		must(t, err)
		last[id] = n
	}

	r := openTest(t, dir)
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || report.Open != 0 {
		t.Fatalf("after recovery: %+v", report)
	}
	checkTapes(t, dir, last)
}

// checkTapes reads every tape back: nothing that was appended may be missing.
func checkTapes(t *testing.T, dir string, last map[string]int) {
	reader, err := OpenReader(dir)
	must(t, err)
	sessions, err := reader.Sessions()
	must(t, err)
	recovered := 0
	for _, s := range sessions {
		if s.State == StateRecovered {
			recovered++
		}
		next := 0
		var writer int
		_, _ = fmt.Sscanf(s.ID, "w%02d", &writer)
		if s.Size == 0 {
			continue // killed between the session's start and its tape's
		}
		tape, err := reader.Tape(s)
		must(t, err)
		for e, err := tape.Next(); err != io.EOF; e, err = tape.Next() {
			must(t, err)
			if e.Kind != KindUp {
				continue
			}
			if !bytes.Equal(e.Body, tapeBytes(writer, next)) {
				t.Fatalf("session %s: entry %d is not what was appended", s.ID, next)
			}
			next++
		}
		must(t, tape.Close())
		if want, ok := last[s.ID]; ok && next <= want {
			t.Errorf("session %s: %d entries, %d were appended", s.ID, next, want+1)
		}
		delete(last, s.ID)
	}
	if len(last) != 0 || recovered == 0 {
		t.Errorf("%d sessions are not in the log; %d were recovered", len(last), recovered)
	}
}

// A crash right after the log turned to a new segment, before its first checkpoint.
func TestCrashBetweenSegmentAndCheckpoint(t *testing.T) {
	for name, tail := range map[string]func(r *Recorder) []byte{
		"header only": func(r *Recorder) []byte { return segmentHeader(r.log.seq+1, r.log.head) },
		"torn checkpoint": func(r *Recorder) []byte {
			b, _ := appendEntry(segmentHeader(r.log.seq+1, r.log.head), []byte(`{"v":1,"seq":0,"type":"recorder.checkpoint"}`), r.log.seq+1, r.log.head)
			return b[:len(b)-5]
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir)
			begin(t, r, "s1")
			abandon(r)
			must(t, os.WriteFile(filepath.Join(dir, "log", "0002.log"), tail(r), 0o600))
			must(t, openTest(t, dir).Close())
			if report := verified(t, dir); !report.OK() || report.Open != 0 || report.Sessions != 1 {
				t.Errorf("report %+v", report)
			}
		})
	}
}

func TestConcurrentAppend(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.FlushEvery = time.Millisecond })
	tape := begin(t, r, "s1")
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for n := range 1000 {
				if err := tape.Append(KindUp+Kind(w), tapeBytes(w, n)); err != nil {
					t.Error(err)
					return
				}
				if n%100 == 0 {
					if err := tape.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	_, err := tape.End("closed")
	must(t, err)
	reader, err := OpenReader(dir)
	must(t, err)
	s, err := reader.Session("s1")
	must(t, err)
	in, err := reader.Tape(s)
	must(t, err)
	defer in.Close()
	next := [2]int{}
	var before time.Duration
	for e, err := in.Next(); err != io.EOF; e, err = in.Next() {
		must(t, err)
		if e.After < before {
			t.Error("time goes backwards")
		}
		before = e.After
		if e.Kind != KindUp && e.Kind != KindDown {
			continue
		}
		w := int(e.Kind - KindUp)
		if !bytes.Equal(e.Body, tapeBytes(w, next[w])) {
			t.Fatalf("writer %d: entry %d", w, next[w])
		}
		next[w]++
	}
	if next != [2]int{1000, 1000} {
		t.Errorf("read back %v", next)
	}
}
