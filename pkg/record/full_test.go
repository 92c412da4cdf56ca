package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of a few MiB. Tests run as root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getuid() != 0 {
			t.Skip("mounting a small disk wants root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the space that is left.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.CreateTemp(dir, "ballast")
	must(t, err)
	path := f.Name()
	defer f.Close()
	for _, part := range []int{1 << 20, 64 << 10, 4 << 10} {
		for {
			if _, err := f.Write(make([]byte, part)); err != nil {
				break
			}
		}
	}
	return func() { must(t, os.Remove(path)) }
}

func TestFullDiskRefusesAndSaysSo(t *testing.T) {
	disk := smallDisk(t, "16m")
	dir := filepath.Join(disk, "record")
	now := time.Now()
	r := openTest(t, dir, func(c *Config) { c.Now = func() time.Time { return now } })
	tape := begin(t, r, "s1")
	must(t, tape.Append(KindUp, []byte("select 1")))
	free := fill(t, disk)

	chunk := bytes.Repeat([]byte("row"), 10_000)
	var err error
	for range 1000 {
		if err = tape.Append(KindDown, chunk); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrUnwritable) {
		t.Fatalf("append on a full disk: %v", err)
	}
	if err := tape.Append(KindUp, nil); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a broken tape takes more: %v", err)
	}
	for range 10_000 {
		if err = r.Log(flow.Event{Type: flow.RequestDecided}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrUnwritable) || !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("log on a full disk: %v", err)
	}
	if _, err := r.Begin("s2", testFlow("s2")); !errors.Is(err, ErrUnwritable) {
		t.Errorf("begin on a full disk: %v", err)
	}
	if _, err := tape.End("failed"); !errors.Is(err, ErrUnwritable) {
		t.Errorf("end of a broken tape: %v", err)
	}
	list := events(t, dir)
	find(t, list, Full)
	if ev := find(t, list, flow.SessionEnded); ev.Result["truncated"] != true || ev.Result["digest"] == nil {
		t.Errorf("the last word says %v", ev.Result)
	}

	now = now.Add(2 * time.Second)
	if err := r.Err(); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a full disk is said to be none: %v", err)
	}
	free()
	now = now.Add(2 * time.Second)
	must(t, r.Err())
	must(t, r.Log(flow.Event{Type: flow.RequestDecided}))
	find(t, events(t, dir), Resumed)
	_, err = begin(t, r, "s3").End("closed")
	must(t, err)
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || len(report.Doubts) != 0 || report.Tapes != 2 {
		t.Errorf("report %+v", report)
	}
}

func TestKilledOnAFullDiskRecovers(t *testing.T) {
	disk := smallDisk(t, "12m")
	dir := filepath.Join(disk, "record")
	r := openTest(t, dir)
	begin(t, r, "s1")
	free := fill(t, disk)
	for i := range 10_000 {
		if err := r.Log(flow.Event{Type: flow.RequestDecided, Session: fmt.Sprint(i)}); err != nil {
			break
		}
	}
	abandon(r)
	now := time.Now()
	again := openTest(t, dir, func(c *Config) { c.Now = func() time.Time { return now } })
	if err := again.Err(); !errors.Is(err, ErrUnwritable) {
		t.Errorf("on a full disk: %v", err)
	}
	if _, err := again.Begin("s2", testFlow("s2")); !errors.Is(err, ErrUnwritable) {
		t.Errorf("begin on a full disk: %v", err)
	}
	if err := again.Log(flow.Event{Type: flow.AdminAct}); !errors.Is(err, ErrUnwritable) {
		t.Errorf("log on a full disk: %v", err)
	}
	if ev := find(t, events(t, dir), flow.SessionEnded); ev.Result["outcome"] != "recovered" {
		t.Errorf("session ended as %v", ev.Result)
	}
	if report := verified(t, dir); !report.OK() || len(report.Doubts) != 1 {
		t.Errorf("report %+v", report)
	}
	free()
	now = now.Add(2 * time.Second)
	tape := begin(t, again, "s3")
	must(t, tape.Append(KindUp, []byte("select 1")))
	must(t, tape.Sync())
	_, err := tape.End("closed")
	must(t, err)
	must(t, again.Close())
	if report := verified(t, dir); !report.OK() {
		t.Errorf("report %+v", report)
	}
}

// The disk is so full that there is no room even to say what is removed.
func TestPruneMakesRoomOnAFullDisk(t *testing.T) {
	for name, restart := range map[string]func(*testing.T, *Recorder) *Recorder{
		"running": func(_ *testing.T, r *Recorder) *Recorder { return r },
		"killed, and started again": func(t *testing.T, r *Recorder) *Recorder {
			abandon(r)
			return openTest(t, r.dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t, "16m")
			dir := filepath.Join(disk, "record")
			r := openTest(t, dir)
			for i := range 20 {
				tape := begin(t, r, fmt.Sprintf("s%02d", i))
				must(t, tape.Append(KindDown, make([]byte, 300<<10)))
				_, err := tape.End("closed")
				must(t, err)
			}
			still := begin(t, r, "still")
			must(t, still.Append(KindUp, []byte("select 1")))
			must(t, still.Sync())
			fill(t, disk)
			for range 10_000 {
				if err := r.Log(flow.Event{Type: flow.RequestDecided}); err != nil {
					break
				}
			}
			fill(t, disk) // another takes what the reserve gave up
			r = restart(t, r)
			removed, err := r.Prune(time.Now().Add(time.Second))
			must(t, err)
			if len(removed.Tapes) < 20 {
				t.Errorf("removed %d tapes", len(removed.Tapes))
			}
			if name == "running" {
				must(t, still.Append(KindDown, []byte("1")))
				must(t, still.Sync())
			}
			r.log.reserve.tried = time.Time{}
			must(t, r.Log(flow.Event{Type: flow.AdminAct}))
			after := begin(t, r, "after")
			must(t, after.Append(KindUp, []byte("select 1")))
			must(t, after.Sync())
			must(t, r.Close())
			if report := verified(t, dir); !report.OK() || report.Pruned != len(removed.Tapes) {
				t.Errorf("report %+v", report)
			}
		})
	}
}

func used(t *testing.T, dir string) int64 {
	t.Helper()
	log, err := treeSize(filepath.Join(dir, "log"))
	must(t, err)
	sessions, err := treeSize(filepath.Join(dir, "sessions"))
	must(t, err)
	return log + sessions
}

// abandon lets go of a record as a killed daemon does: nothing is put in order.
func abandon(r *Recorder) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.flusher.stop()
	r.syncer.stop()
	for _, t := range r.tapes {
		_ = t.w.close()
		t.f.Close()
	}
	r.log.f.Close()
	r.commit.f.Close()
	r.lock.Close()
}

func TestQuotaRefusesSessionsNotEnds(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.MaxBytes = 2 << 20 })
	tape := begin(t, r, "s1")
	var err error
	for range 1000 {
		if err = tape.Append(KindDown, make([]byte, 32<<10)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrQuota) {
		t.Fatalf("append beyond the quota: %v", err)
	}
	var more []*Tape
	for err = nil; err == nil && len(more) < 200; {
		var next *Tape
		if next, err = r.Begin(fmt.Sprintf("more%d", len(more)), testFlow("s2")); err == nil {
			more = append(more, next)
		}
	}
	if !errors.Is(err, ErrQuota) {
		t.Errorf("begin beyond the quota: %v", err)
	}
	if _, err := tape.End("failed"); !errors.Is(err, ErrQuota) {
		t.Errorf("end: %v", err)
	}
	for _, next := range more {
		_, err := next.End("closed")
		must(t, err)
	}
	used := used(t, dir)
	if used != r.Used() || used > 2<<20 {
		t.Errorf("%d bytes used, %d counted", used, r.Used())
	}
	removed, err := r.Prune(time.Now().Add(time.Second))
	must(t, err)
	if len(removed.Tapes) != 1+len(more) {
		t.Errorf("pruned %+v", removed)
	}
	_, err = begin(t, r, "s3").End("closed")
	must(t, err)
	must(t, r.Close())
	if report := verified(t, dir); !report.OK() || report.Pruned != 1+len(more) {
		t.Errorf("report %+v", report)
	}
}

func TestPrunedRecordVerifies(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	r := openTest(t, dir, func(c *Config) { c.SegmentBytes = 16 << 10 })
	still := begin(t, r, "still")
	removed, err := r.Prune(time.Now())
	must(t, err)
	if len(removed.Tapes) != 30 || len(removed.Segments) < 2 || removed.Bytes == 0 {
		t.Errorf("removed %+v", removed)
	}
	_, err = still.End("closed")
	must(t, err)
	used := used(t, dir)
	if used != r.Used() {
		t.Errorf("%d bytes used, %d counted", used, r.Used())
	}
	must(t, r.Close())
	report := verified(t, dir)
	if !report.OK() || len(report.Doubts) != 0 || report.First == 1 || report.Pruned != 30 {
		t.Errorf("report %+v", report)
	}
	left, err := filepath.Glob(filepath.Join(dir, "sessions", "*", "*", "*", "*"))
	must(t, err)
	if len(left) != 1 {
		t.Errorf("left %v", left)
	}
	must(t, os.Remove(left[0]))
	if verified(t, dir).OK() {
		t.Error("a tape that was not pruned can be removed")
	}
}
