package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// kernel plays the count that outlives daemons.
type kernel struct{ handed, heard, life uint64 }

func (k *kernel) count(c *Config) {
	k.heard = 0
	c.Counters = func() map[string]uint64 {
		return map[string]uint64{CounterTurned: k.handed - k.heard, CounterCanaries: k.heard, CounterLife: k.life}
	}
}

// start is a daemon's start, with the checkpoint from which on it is held against the kernel.
func (k *kernel) start(t *testing.T, dir string) *Recorder {
	t.Helper()
	r := openTest(t, dir, k.count)
	k.check(t, r)
	return r
}

func (k *kernel) check(t *testing.T, r *Recorder) {
	t.Helper()
	_, err := r.Checkpoint()
	must(t, err)
}

func (k *kernel) run(t *testing.T, r *Recorder, id string) {
	t.Helper()
	k.handed++
	_, err := begin(t, r, id).End("closed")
	must(t, err)
}

func (k *kernel) canary(t *testing.T, r *Recorder) {
	t.Helper()
	k.handed += 2
	k.heard += 2
	must(t, r.Log(flow.Event{Type: flow.CaptureCanary, Result: map[string]any{"families": []string{"ipv4", "ipv6"}}}))
}

// cutBehind removes the log's entries from number seq on, and the tapes.
func cutBehind(t *testing.T, dir string, seq uint64) {
	t.Helper()
	log := filepath.Join(dir, "log", "0001.log")
	must(t, os.Truncate(log, places(t, log)[seq-1].end))
	must(t, os.RemoveAll(filepath.Join(dir, "sessions")))
}

func TestKilledRunIsDoubtedEverAfter(t *testing.T) {
	dir := t.TempDir()
	k := &kernel{life: 7, handed: 40} // of daemons before this record
	r := k.start(t, dir)
	k.run(t, r, "s1")
	k.canary(t, r)
	k.check(t, r)
	k.run(t, r, "s2")
	k.canary(t, r)
	abandon(r)
	r = k.start(t, dir)
	k.run(t, r, "s3")
	k.check(t, r)
	for range 2 {
		must(t, r.Close())
		report := verified(t, dir)
		if !report.OK() || len(report.Doubts) != 1 || report.Flows.Unexplained != 0 ||
			!strings.Contains(report.Doubts[0].What, "no closing checkpoint") {
			t.Errorf("broken %v, doubts %v, flows %+v", report.Broken, report.Doubts, report.Flows)
		}
		r = k.start(t, dir)
	}
}

func TestEndRemovedBeforeTheNextStartIsCounted(t *testing.T) {
	for name, after := range map[string]func(*testing.T, *kernel, *Recorder){
		"verified at once": func(*testing.T, *kernel, *Recorder) {},
		"verified later": func(t *testing.T, k *kernel, r *Recorder) {
			k.run(t, r, "s8")
			k.canary(t, r)
			k.check(t, r)
			k.run(t, r, "s9")
			k.check(t, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := &kernel{life: 7, handed: 40}
			r := k.start(t, dir)
			k.run(t, r, "s1")
			k.check(t, r)
			sealed := r.Mark().Seq
			k.run(t, r, "s2")
			k.run(t, r, "s3")
			abandon(r)
			cutBehind(t, dir, sealed)
			r = k.start(t, dir)
			after(t, k, r)
			report := verified(t, dir)
			doubts := report.Doubts
			if report.Flows.Unexplained != 2 || len(doubts) != 2 || !strings.Contains(doubts[1].What, "2 connections") {
				t.Errorf("doubts %v, flows %+v", doubts, report.Flows)
			}
		})
	}
}

func TestWholeRunRemovedIsBroken(t *testing.T) {
	dir := t.TempDir()
	k := &kernel{life: 7}
	r := k.start(t, dir)
	k.run(t, r, "s1")
	must(t, r.Close())
	closed := r.Mark().Seq
	r = k.start(t, dir)
	k.run(t, r, "s2")
	must(t, r.Close())
	cutBehind(t, dir, closed)
	must(t, openTest(t, dir).Close()) // one that counts nothing, between
	r = k.start(t, dir)
	must(t, r.Close())
	report := verified(t, dir)
	if report.Flows.Unexplained != 1 || report.OK() || !strings.Contains(report.Broken[0].What, "end was removed") {
		t.Errorf("broken %v, flows %+v", report.Broken, report.Flows)
	}
}

func TestOrderlyRestartsAreNotDoubted(t *testing.T) {
	dir := t.TempDir()
	k := &kernel{life: 7}
	for i, id := range []string{"s1", "s2", "s3"} {
		k.handed++ // waits to be accepted when the first checkpoint is made
		r := k.start(t, dir)
		_, err := begin(t, r, "early"+id).End("closed")
		must(t, err)
		k.run(t, r, id)
		k.canary(t, r)
		k.check(t, r)
		k.handed++ // hung up on by a daemon that ends
		must(t, r.Close())
		if i == 1 {
			k.life, k.handed = 8, 3 // the host was booted
		}
	}
	if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 || report.Flows.Unexplained != 0 {
		t.Errorf("broken %v, doubts %v, flows %+v", report.Broken, report.Doubts, report.Flows)
	}
}

// On a busy host something is under way at every checkpoint, also when the daemon is killed.
func TestConnectionsUnderWayAreNotMissing(t *testing.T) {
	dir := t.TempDir()
	k := &kernel{life: 7}
	r := k.start(t, dir)
	for _, id := range []string{"s1", "s2", "s3"} {
		k.handed++
		k.check(t, r)
		k.check(t, r)
		if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 {
			t.Errorf("live: broken %v, doubts %v", report.Broken, report.Doubts)
		}
		_, err := begin(t, r, id).End("closed")
		must(t, err)
	}
	k.handed++
	k.check(t, r)
	k.check(t, r)
	abandon(r)
	r = k.start(t, dir)
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || report.Flows.Missing != 0 {
		t.Errorf("killed: broken %v, flows %+v", report.Broken, report.Flows)
	}
}
