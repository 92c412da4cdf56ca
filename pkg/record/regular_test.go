package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// strangers put something that is no file where one was.
var strangers = map[string]func(t *testing.T, path string){
	"link":      func(t *testing.T, path string) { must(t, os.Symlink("/etc/hostname", path)) },
	"pipe":      func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) },
	"directory": func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) },
	"device":    func(t *testing.T, path string) { must(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))) },
}

func TestStrangerInATapesPlaceIsNamed(t *testing.T) {
	for name, put := range strangers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sample(t, dir)
			path := tapeOf(t, dir, "s07")
			must(t, os.Remove(path))
			put(t, path)
			report := verified(t, dir)
			if len(report.Broken) != 1 || !strings.Contains(report.Broken[0].What, "not a regular file") || report.Tapes != 29 {
				t.Errorf("%d tapes checked, broken %v", report.Tapes, report.Broken)
			}
			r, err := OpenReader(dir)
			must(t, err)
			s, err := r.Session("s07")
			must(t, err)
			if _, err := r.Tape(s); err == nil {
				t.Error("it is read as a tape")
			}
		})
	}
}

func TestStrangerInTheLogIsNamed(t *testing.T) {
	for name, put := range strangers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sample(t, dir)
			path := filepath.Join(dir, "log", "0002.log")
			must(t, os.Remove(path))
			put(t, path)
			report := verified(t, dir)
			if report.OK() || !strings.Contains(report.Broken[0].What, "not a regular file") {
				t.Errorf("broken %v", report.Broken)
			}
			r, err := OpenReader(dir)
			must(t, err)
			if list, _ := r.Sessions(); len(list) == 0 {
				t.Error("nothing else is read")
			}
		})
	}
}

func TestStrangerInAnAbandonedTapesPlaceIsLost(t *testing.T) {
	for name, put := range strangers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir)
			path := filepath.Join(dir, begin(t, r, "s1").path)
			abandon(r)
			must(t, os.Remove(path))
			put(t, path)
			must(t, openTest(t, dir).Close())
			if report := verified(t, dir); report.OK() {
				t.Errorf("report %+v", report)
			}
		})
	}
}
