package record

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestVerifyWhileRecordingAndPruning(t *testing.T) {
	dir := t.TempDir()
	var handed kernelCount
	r := openTest(t, dir, func(c *Config) {
		c.SegmentBytes, c.CheckpointEntries, c.Counters = 16<<10, 10, handed.counters
	})
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				handed.add()
				tape, err := r.Begin(fmt.Sprintf("w%d-%05d", w, i), testFlow("s"))
				if err == nil {
					err = tape.Append(KindUp, make([]byte, 40<<10))
				}
				if err == nil {
					_, err = tape.End("closed")
				}
				if err == nil && i%20 == 19 {
					_, err = r.Prune(time.Now().Add(-50 * time.Millisecond))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	until := time.Now().Add(4 * time.Second)
	n := 0
	for ; time.Now().Before(until); n++ {
		if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 {
			t.Errorf("broken %v, doubts %v", report.Broken, report.Doubts)
			break
		}
	}
	close(stop)
	writers.Wait()
	must(t, r.Close())
	report := verified(t, dir)
	if !report.OK() || len(report.Doubts) != 0 {
		t.Errorf("in the end: broken %v, doubts %v", report.Broken, report.Doubts)
	}
	t.Logf("verified %d times, in the end %+v", n, report)
}

// kernelCount counts what is handed over.
type kernelCount struct {
	mu sync.Mutex
	n  uint64
}

func (k *kernelCount) add() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n++
}

func (k *kernelCount) counters() map[string]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return map[string]uint64{CounterTurned: k.n, CounterLife: 1}
}

func TestRolledBackRecordIsSeenByAnAnchor(t *testing.T) {
	for name, grow := range map[string]int{"as it was": 0, "gone on with": 30} {
		t.Run(name, func(t *testing.T) {
			dir, kept := filepath.Join(t.TempDir(), "record"), filepath.Join(t.TempDir(), "kept")
			sample(t, dir)
			out, err := exec.Command("cp", "-a", dir, kept).CombinedOutput()
			if err != nil {
				t.Fatalf("%s", out)
			}
			r := openTest(t, dir)
			for range 5 {
				must(t, r.Log(flow.Event{Type: flow.AdminAct}))
			}
			anchor, err := r.Checkpoint()
			must(t, err)
			must(t, r.Close())
			if report := verified(t, dir, anchor); !report.OK() {
				t.Fatalf("before: %v", report.Broken)
			}
			must(t, os.RemoveAll(dir))
			must(t, os.Rename(kept, dir))
			if grow > 0 {
				r = openTest(t, dir)
				for range grow {
					must(t, r.Log(flow.Event{Type: flow.AdminAct}))
				}
				must(t, r.Close())
			}
			if report := verified(t, dir, anchor); report.OK() || !strings.Contains(report.Broken[0].What, "kept elsewhere") {
				t.Errorf("broken %v", report.Broken)
			}
		})
	}
}

func TestSegmentsRearrangedAreNamed(t *testing.T) {
	at := func(dir, name string) string { return filepath.Join(dir, "log", name) }
	for name, rearrange := range map[string]func(dir string) error{
		"swapped": func(dir string) error {
			return errors.Join(os.Rename(at(dir, "0002.log"), at(dir, "x")), os.Rename(at(dir, "0003.log"), at(dir, "0002.log")), os.Rename(at(dir, "x"), at(dir, "0003.log")))
		},
		"doubled under another name": func(dir string) error { return os.Link(at(dir, "0002.log"), at(dir, "02.log")) },
		"last removed": func(dir string) error {
			list, err := segments(filepath.Join(dir, "log"))
			return errors.Join(err, os.Remove(list[len(list)-1].path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sample(t, dir)
			must(t, rearrange(dir))
			report := verified(t, dir)
			if report.OK() && len(report.Doubts) == 0 {
				t.Errorf("report %+v", report)
			}
		})
	}
}
