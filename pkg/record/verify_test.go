package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// a record with sessions, refusals and small segments, closed in order.
func sample(t *testing.T, dir string, change ...func(*Config)) {
	t.Helper()
	small := func(c *Config) { c.SegmentBytes, c.CheckpointEntries = 16<<10, 10 }
	r := openTest(t, dir, append([]func(*Config){small}, change...)...)
	for i := range 30 {
		tape := begin(t, r, fmt.Sprintf("s%02d", i))
		must(t, tape.Append(KindUp, []byte("select 1")))
		must(t, tape.Append(KindVerdict, []byte("{}")))
		must(t, tape.Append(KindDown, bytes.Repeat([]byte("row"), 100)))
		must(t, r.Log(flow.Event{Type: flow.AskOpened, Session: fmt.Sprintf("s%02d", i), Ask: &flow.AskState{ID: "a1", State: "pending"}}))
		_, err := tape.End("closed")
		must(t, err)
	}
	must(t, r.Close())
}

func verified(t *testing.T, dir string, anchors ...string) *Report {
	t.Helper()
	key, err := PublicKey(dir)
	must(t, err)
	report, err := Verify(dir, key, anchors...)
	must(t, err)
	return report
}

func TestSoundRecordVerifies(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	report := verified(t, dir)
	if !report.OK() || len(report.Doubts) != 0 {
		t.Fatalf("broken %v, doubts %v", report.Broken, report.Doubts)
	}
	if report.Sessions != 30 || report.Tapes != 30 || report.Sealed != report.Last || report.First != 1 {
		t.Errorf("report %+v", report)
	}
	list, err := segments(filepath.Join(dir, "log"))
	must(t, err)
	if len(list) < 2 {
		t.Errorf("%d segments: the test wants several", len(list))
	}
}

// place is an entry's place in a segment file.
type place struct {
	off, end int64
	seq      uint64
	kind     string
}

func places(t *testing.T, path string) []place {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	var list []place
	_, err = walk(content, func(off int64, seq uint64, e entry) error {
		var ev flow.Event
		must(t, json.Unmarshal(e.payload, &ev))
		list = append(list, place{off, off + e.size, seq, ev.Type})
		return nil
	})
	must(t, err)
	return list
}

// rewrite changes a file's bytes.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(content), 0o600))
}

// rechain forges: it renders the segment's entries again, changed, with right
// numbers, hashes and checksums, as one without the key would.
func rechain(t *testing.T, path string, change func(i int, payload []byte) []byte) {
	t.Helper()
	rewrite(t, path, func(content []byte) []byte {
		first, prev, err := parseHeader(content)
		must(t, err)
		out := slices.Clone(content[:segmentHead])
		i, seq := 0, first
		_, err = walk(content, func(_ int64, _ uint64, e entry) error {
			payload := change(i, slices.Clone(e.payload))
			i++
			if payload == nil {
				return nil
			}
			rest := payload[bytes.IndexByte(payload[len(`{"v":1,"seq":`):], ',')+len(`{"v":1,"seq":`)+1:]
			out, prev = appendEntry(out, append(slices.Clone(unnumbered), rest...), seq, prev)
			seq++
			return nil
		})
		must(t, err)
		return out
	})
}

func TestTamperingIsNamed(t *testing.T) {
	log1 := filepath.Join("log", "0001.log")
	tests := map[string]struct {
		tamper func(t *testing.T, dir string, at []place)
		where  func(at []place) Place // zero fields are not compared
		what   string
	}{
		"flipped byte": {
			func(t *testing.T, dir string, at []place) {
				rewrite(t, filepath.Join(dir, log1), func(b []byte) []byte { b[at[5].off+100] ^= 1; return b })
			},
			func(at []place) Place { return Place{log1, at[5].off, at[5].seq} }, "checksum",
		},
		"flipped length": {
			func(t *testing.T, dir string, at []place) {
				rewrite(t, filepath.Join(dir, log1), func(b []byte) []byte { b[at[5].off+2] ^= 0x40; return b })
			},
			func(at []place) Place { return Place{log1, at[5].off, at[5].seq} }, "",
		},
		"flipped byte with its checksum mended": {
			func(t *testing.T, dir string, at []place) {
				rewrite(t, filepath.Join(dir, log1), func(b []byte) []byte {
					e := b[at[5].off:at[5].end]
					e[entryHead+40] ^= 1
					crc := entryCRC(e)
					e[4], e[5], e[6], e[7] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
					return b
				})
			},
			func(at []place) Place { return Place{log1, at[5].off, at[5].seq} }, "does not follow",
		},
		"removed entry": {
			func(t *testing.T, dir string, at []place) {
				rewrite(t, filepath.Join(dir, log1), func(b []byte) []byte { return slices.Delete(b, int(at[5].off), int(at[5].end)) })
			},
			func(at []place) Place { return Place{log1, at[5].off, at[5].seq} }, "where 6 is due",
		},
		"reordered entries": {
			func(t *testing.T, dir string, at []place) {
				rewrite(t, filepath.Join(dir, log1), func(b []byte) []byte {
					out := slices.Clone(b[:at[5].off])
					out = append(out, b[at[6].off:at[6].end]...)
					out = append(out, b[at[5].off:at[5].end]...)
					return append(out, b[at[6].end:]...)
				})
			},
			func(at []place) Place { return Place{log1, at[5].off, at[5].seq} }, "is due",
		},
		"forged and chained again without the key": {
			func(t *testing.T, dir string, _ []place) {
				rechain(t, filepath.Join(dir, log1), func(i int, p []byte) []byte {
					if i == 5 {
						return bytes.Replace(p, []byte("billing-bot"), []byte("innocentbot"), -1)
					}
					return p
				})
			},
			func([]place) Place { return Place{File: log1} }, "another history",
		},
		"forged, and the checkpoints removed": {
			func(t *testing.T, dir string, _ []place) {
				list, _ := segments(filepath.Join(dir, "log"))
				for _, s := range list[1:] {
					must(t, os.Remove(s.path))
				}
				rechain(t, filepath.Join(dir, log1), func(i int, p []byte) []byte {
					if i > 5 && isType(p, Checkpointed) {
						return nil
					}
					return p
				})
			},
			func([]place) Place { return Place{File: log1} }, "checkpoint was due",
		},
		"segment replaced": {
			func(t *testing.T, dir string, _ []place) {
				other := t.TempDir()
				sample(t, other)
				b, err := os.ReadFile(filepath.Join(other, "log", "0002.log"))
				must(t, err)
				must(t, os.WriteFile(filepath.Join(dir, "log", "0002.log"), b, 0o600))
			},
			func([]place) Place { return Place{File: filepath.Join("log", "0002.log")} }, "does not follow",
		},
		"segment removed": {
			func(t *testing.T, dir string, _ []place) { must(t, os.Remove(filepath.Join(dir, "log", "0002.log"))) },
			func([]place) Place { return Place{File: filepath.Join("log", "0003.log")} }, "missing",
		},
		"first segment removed": {
			func(t *testing.T, dir string, _ []place) { must(t, os.Remove(filepath.Join(dir, log1))) },
			nil, "does not begin with its first entry",
		},
		"tape changed": {
			func(t *testing.T, dir string, _ []place) {
				rewrite(t, tapeOf(t, dir, "s07"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			},
			nil, "not the one whose digest",
		},
		"tapes swapped": {
			func(t *testing.T, dir string, _ []place) {
				a, b := tapeOf(t, dir, "s07"), tapeOf(t, dir, "s08")
				must(t, os.Rename(a, a+".x"))
				must(t, os.Rename(b, a))
				must(t, os.Rename(a+".x", b))
			},
			nil, "not the one whose digest",
		},
		"tape cut": {
			func(t *testing.T, dir string, _ []place) { must(t, os.Truncate(tapeOf(t, dir, "s07"), 100)) },
			nil, "tape has 100 bytes",
		},
		"tape removed": {
			func(t *testing.T, dir string, _ []place) { must(t, os.Remove(tapeOf(t, dir, "s07"))) },
			nil, "tape of session s07 is gone",
		},
		"tape slipped in": {
			func(t *testing.T, dir string, _ []place) {
				b, err := os.ReadFile(tapeOf(t, dir, "s07"))
				must(t, err)
				must(t, os.WriteFile(filepath.Join(filepath.Dir(tapeOf(t, dir, "s07")), "s99.tape"), b, 0o600))
			},
			nil, "no session of the log has this tape",
		},
		"log removed": {
			func(t *testing.T, dir string, _ []place) { must(t, os.RemoveAll(filepath.Join(dir, "log"))) },
			nil, "there is no log",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sample(t, dir)
			at := places(t, filepath.Join(dir, log1))
			test.tamper(t, dir, at)
			report := verified(t, dir)
			if report.OK() {
				t.Fatal("nothing found")
			}
			first := report.Broken[0]
			if !strings.Contains(first.What, test.what) {
				t.Errorf("first finding: %v", first)
			}
			if test.where == nil {
				return
			}
			want := test.where(at)
			if first.File != want.File || want.Seq != 0 && first.Place != want {
				t.Errorf("found at %+v, want %+v", first.Place, want)
			}
		})
	}
}

func tapeOf(t *testing.T, dir, id string) string {
	t.Helper()
	r, err := OpenReader(dir)
	must(t, err)
	s, err := r.Session(id)
	must(t, err)
	return filepath.Join(dir, s.tape)
}

func TestCutTailIsSeenByAnAnchorOnly(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir)
	for range 5 {
		must(t, r.Log(flow.Event{Type: flow.AdminAct}))
	}
	anchor, err := r.Checkpoint()
	must(t, err)
	must(t, r.Close())
	path := filepath.Join(dir, "log", "0001.log")
	at := places(t, path)
	must(t, os.Truncate(path, at[4].off)) // at the end of an entry
	report := verified(t, dir)
	if !report.OK() || len(report.Doubts) != 1 || report.Sealed != 2 {
		t.Errorf("without anchor: %+v", report)
	}
	report = verified(t, dir, anchor)
	if report.OK() || !strings.Contains(report.Broken[0].What, "which is gone") {
		t.Errorf("with anchor: %+v", report)
	}
}

func TestAnotherKeyIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	sample(t, dir)
	sample(t, other)
	key, err := PublicKey(other)
	must(t, err)
	report, err := Verify(dir, key)
	must(t, err)
	if report.OK() || !strings.Contains(report.Broken[0].What, "signature") {
		t.Errorf("report %+v", report)
	}
	if _, err := Verify(dir, "nonsense"); err == nil {
		t.Error("a malformed key is accepted")
	}
}

func TestSummedRefusalsCountEach(t *testing.T) {
	dir := t.TempDir()
	turned := uint64(0)
	r := openTest(t, dir, func(c *Config) {
		c.Counters = func() map[string]uint64 { return map[string]uint64{CounterTurned: turned} }
	})
	_, err := r.Checkpoint()
	must(t, err)
	turned = 1000
	must(t, r.Log(flow.Event{Type: flow.CaptureRefused, Flow: testFlow("s1"), Verdict: &flow.Decided{Verdict: flow.Deny},
		Result: map[string]any{"count": 999}}))
	must(t, r.Log(flow.Event{Type: flow.CaptureRefused, Flow: testFlow("s2"), Verdict: &flow.Decided{Verdict: flow.Deny}}))
	for range 2 {
		_, err = r.Checkpoint()
		must(t, err)
	}
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || report.Flows.Recorded != 1000 {
		t.Fatalf("%+v", report.Flows)
	}
}

func TestSkippedConnectionIsSeen(t *testing.T) {
	dir := t.TempDir()
	var turned uint64
	count := func(c *Config) {
		c.Counters = func() map[string]uint64 { return map[string]uint64{CounterTurned: turned} }
	}
	r := openTest(t, dir, count)
	run := func(id string) {
		turned++
		_, err := begin(t, r, id).End("closed")
		must(t, err)
	}
	run("s1")
	_, err := r.Checkpoint()
	must(t, err)
	turned++ // under way at the checkpoint...
	_, err = r.Checkpoint()
	must(t, err)
	turned--
	run("s2") // ...and recorded
	must(t, r.Log(flow.Event{Type: flow.RequestDecided, Flow: testFlow("s3"), Verdict: &flow.Decided{Verdict: flow.Deny}}))
	turned++
	_, err = r.Checkpoint()
	must(t, err)
	if report := verified(t, dir); !report.OK() || !report.Flows.Known || report.Flows.Kernel != 3 || report.Flows.Recorded != 3 {
		t.Fatalf("before: %+v", report)
	}
	turned++ // waiting to be accepted when the daemon is killed
	_, err = r.Checkpoint()
	must(t, err)
	abandon(r)
	r = openTest(t, dir, count)
	run("s4")
	_, err = r.Checkpoint()
	must(t, err)
	if report := verified(t, dir); !report.OK() || report.Flows.Recorded != 4 {
		t.Fatalf("after a restart: %+v", report)
	}
	turned++ // never recorded
	_, err = r.Checkpoint()
	must(t, err)
	must(t, r.Close())
	report := verified(t, dir)
	if report.OK() || report.Flows.Missing != 1 || !strings.Contains(report.Broken[0].What, "never recorded") {
		t.Errorf("after: %+v", report)
	}
}

func TestVerifyWhileRecording(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.SegmentBytes, c.CheckpointEntries = 16<<10, 10 })
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			tape, err := r.Begin(fmt.Sprintf("s%05d", i), testFlow("s"))
			if err == nil {
				_, err = tape.End("closed")
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 20 {
		if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 {
			t.Errorf("broken %v, doubts %v", report.Broken, report.Doubts)
		}
	}
	close(stop)
	<-done
}

func TestReservedEventsAreRefused(t *testing.T) {
	r := openTest(t, t.TempDir())
	for _, kind := range []string{flow.SessionStarted, flow.SessionEnded, Checkpointed, Pruned, flow.RecorderStopped} {
		if err := r.Log(flow.Event{Type: kind}); !errors.Is(err, ErrReserved) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
