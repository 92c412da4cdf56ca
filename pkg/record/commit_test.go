package record

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// entriesOf reads a session's Up entries back.
func entriesOf(t *testing.T, dir, id string) [][]byte {
	t.Helper()
	reader, err := OpenReader(dir)
	must(t, err)
	s, err := reader.Session(id)
	must(t, err)
	in, err := reader.Tape(s)
	must(t, err)
	defer in.Close()
	var list [][]byte
	for e, err := in.Next(); err != io.EOF; e, err = in.Next() {
		must(t, err)
		if e.Kind == KindUp {
			list = append(list, bytes.Clone(e.Body))
		}
	}
	return list
}

// A power cut is played by taking from the tapes what they were never synced
// for themselves: what Sync promised must come back from the commit file.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	for name, ruin := range map[string]func(t *testing.T, path string){
		"tape never reached the disk": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"tape's pages did not":        func(t *testing.T, path string) { must(t, os.WriteFile(path, make([]byte, 16<<10), 0o600)) },
		"last page did not":           func(t *testing.T, path string) { must(t, os.Truncate(path, 4096)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := openTest(t, dir, func(c *Config) { c.FlushEvery = time.Hour })
			var tapes []*Tape
			for i := range 5 {
				tapes = append(tapes, begin(t, r, fmt.Sprintf("s%d", i)))
			}
			for n := range 60 {
				for _, tape := range tapes {
					must(t, tape.Append(KindUp, tapeBytes(1, n)))
					if n%7 == 0 {
						must(t, tape.Sync())
					}
				}
			}
			synced := 57 // 0 to 56
			abandon(r)
			for _, tape := range tapes {
				ruin(t, filepath.Join(dir, tape.path))
			}
			again := openTest(t, dir)
			for i := range tapes {
				got := entriesOf(t, dir, fmt.Sprintf("s%d", i))
				if len(got) < synced {
					t.Fatalf("session %d: %d entries of %d", i, len(got), synced)
				}
				for n, body := range got {
					if !bytes.Equal(body, tapeBytes(1, n)) {
						t.Fatalf("session %d: entry %d is another", i, n)
					}
				}
			}
			must(t, again.Close())
			if report := verified(t, dir); !report.OK() {
				t.Errorf("report %+v", report)
			}
		})
	}
}

func TestCommitFileTurns(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.FlushEvery = time.Hour })
	tape, idle := begin(t, r, "s1"), begin(t, r, "s2")
	must(t, idle.Append(KindUp, []byte("select 1")))
	must(t, idle.Sync())
	body := make([]byte, 30<<10)
	n := 0
	for ; n*len(body) < 3*commitBytes; n++ {
		must(t, tape.Append(KindUp, body))
		must(t, tape.Sync())
	}
	if r.commit.generation < 3 {
		t.Errorf("generation %d", r.commit.generation)
	}
	abandon(r)
	must(t, os.Truncate(filepath.Join(dir, tape.path), tape.synced)) // a power cut
	again := openTest(t, dir)
	if got := entriesOf(t, dir, "s1"); len(got) != n {
		t.Errorf("%d entries of %d", len(got), n)
	}
	if got := entriesOf(t, dir, "s2"); len(got) != 1 {
		t.Errorf("the idle session has %d entries", len(got))
	}
	must(t, again.Close())
}

func TestStaleCommitFileIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, func(c *Config) { c.FlushEvery = time.Hour })
	tape := begin(t, r, "s1")
	for n := range 3 {
		must(t, tape.Append(KindUp, tapeBytes(1, n)))
		must(t, tape.Sync())
	}
	abandon(r)
	path := filepath.Join(dir, commitName)
	rewrite(t, path, func(b []byte) []byte { b[commitAlign+30] ^= 1; return b }) // the second batch
	c, err := openCommit(dir)
	must(t, err)
	defer c.f.Close()
	parts, err := c.load()
	must(t, err)
	if len(parts[tape.path]) != 1 {
		t.Errorf("%d parts believed", len(parts[tape.path]))
	}
}

func FuzzCommitFile(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x10\x00\x00\x00"), []byte("0123456701230\x00path"))
	f.Fuzz(func(t *testing.T, head, parts []byte) {
		m := map[string][]part{}
		cutParts(parts, m)
		n := 0
		for path, list := range m {
			for _, p := range list {
				n += len(path) + len(p.body)
			}
		}
		if n > len(parts) {
			t.Fatalf("%d bytes out of %d", n, len(parts))
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "commit"))
		must(t, err)
		defer file.Close()
		_, err = file.Write(append(head, parts...))
		must(t, err)
		_, err = (&commitFile{f: file}).load()
		must(t, err)
	})
}
