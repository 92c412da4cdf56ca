package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestEmptiedRecordIsBroken(t *testing.T) {
	for name, size := range map[string]func([]place) int64{
		"to nothing":          func([]place) int64 { return 0 },
		"into the header":     func([]place) int64 { return segmentHead - 1 },
		"to the header":       func([]place) int64 { return segmentHead },
		"into the first":      func(at []place) int64 { return at[0].end - 1 },
		"to the first":        func(at []place) int64 { return at[0].end },
		"into the checkpoint": func(at []place) int64 { return at[1].end - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir)
			_, err := begin(t, r, "s1").End("closed")
			must(t, err)
			must(t, r.Close())
			log := filepath.Join(dir, "log", "0001.log")
			must(t, os.Truncate(log, size(places(t, log))))
			must(t, os.RemoveAll(filepath.Join(dir, "sessions")))
			report := verified(t, dir)
			if report.OK() || !strings.Contains(report.Broken[0].What, "no checkpoint vouches") {
				t.Errorf("report %+v", report)
			}
		})
	}
}

// A log that was emptied and gone on with is whole again, to look at: the key is older than it.
func TestLogBegunAnewUnderAnOldKeyIsDoubted(t *testing.T) {
	for name, empty := range map[string]func(t *testing.T, log string){
		"truncated": func(t *testing.T, log string) { must(t, os.Truncate(log, segmentHead)) },
		"removed":   func(t *testing.T, log string) { must(t, os.Remove(log)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir)
			must(t, r.Log(flow.Event{Type: flow.AdminAct}))
			must(t, r.Close())
			if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 {
				t.Fatalf("before: %+v", report)
			}
			empty(t, filepath.Join(dir, "log", "0001.log"))
			must(t, openTest(t, dir).Close())
			report := verified(t, dir)
			if len(report.Doubts) != 1 || !strings.Contains(report.Doubts[0].What, "older than this log") {
				t.Errorf("report %+v", report)
			}
			must(t, openTest(t, dir).Close())
			if again := verified(t, dir); len(again.Doubts) != 1 {
				t.Errorf("after another start: %v", again.Doubts)
			}
		})
	}
}
