package approval

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

const (
	filedVersion = 1
	fileLimit    = 1 << 20 // bytes
)

// filed is an ask as it lies on disk, as JSON in DIR/ID.json.
type filed struct {
	V     int       `json:"v"`
	Key   string    `json:"key,omitempty"`
	Until time.Time `json:"until,omitzero"` // of an approval's scope
	View
}

// event is the record's entry for the ask.
func (f filed) event(kind string) flow.Event {
	state := f.AskState
	at := f.Opened
	if kind == flow.AskResolved {
		at = f.Resolved
	}
	return flow.Event{
		Type: kind, Time: at, Session: f.Flow, Identity: f.Identity, Process: f.Process, Target: f.Target,
		Request: f.Request, Verdict: &flow.Decided{Verdict: flow.Hold, Rule: f.Rule, Reason: f.Message}, Ask: &state,
	}
}

var states = []string{Pending, Approved, Denied, Expired, Cancelled}

// decode reads a file strictly: an ask that is not exactly one is not acted upon.
func decode(data []byte) (filed, error) {
	var f filed
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return filed{}, errors.New("not an ask") // the decoder's error may quote a value
	}
	if _, err := dec.Token(); err != io.EOF {
		return filed{}, errors.New("more than one ask")
	}
	switch {
	case f.V != filedVersion:
		return filed{}, fmt.Errorf("version %d is not known", f.V)
	case !validID(f.ID):
		return filed{}, errors.New("no valid id")
	case !slices.Contains(states, f.State):
		return filed{}, errors.New("unknown state")
	case f.Process == nil || f.Request == nil:
		return filed{}, errors.New("no process or request")
	}
	return f, nil
}

// shelf keeps asks in a directory.
type shelf struct{ dir string }

// openShelf makes dir if need be, and refuses one that others may write to.
func openShelf(dir string) (shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return shelf{}, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return shelf{}, err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return shelf{}, fmt.Errorf("%s can be written by others (chmod 0700 it)", dir)
	}
	return shelf{dir}, nil
}

// put writes an ask so that it is there whole after a crash, or as it was before.
func (s shelf) put(f filed) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(data) > fileLimit {
		return ErrTooLong
	}
	temporary := filepath.Join(s.dir, f.ID+".new")
	if err := writeSync(temporary, data); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, s.path(f.ID)); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return s.sync()
}

func writeSync(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// remove takes an ask away, also where it is gone already.
func (s shelf) remove(id string) error {
	if err := os.Remove(s.path(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s shelf) path(id string) string { return filepath.Join(s.dir, id+".json") }

// sync makes the directory's entries durable.
func (s shelf) sync() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// all reads every ask. A file that is not one is set aside as NAME.unreadable:
// nobody waits for it any more, and it can approve nothing.
func (s shelf) all() ([]filed, error) {
	names, err := fs.Glob(os.DirFS(s.dir), "*.json")
	if err != nil {
		return nil, err
	}
	var found []filed
	for _, name := range names {
		f, err := s.read(name)
		if err != nil {
			if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, name+".unreadable")); err != nil {
				return nil, err
			}
			continue
		}
		found = append(found, f)
	}
	return found, nil
}

func (s shelf) read(name string) (filed, error) {
	file, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return filed{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, fileLimit))
	if err != nil {
		return filed{}, err
	}
	f, err := decode(data)
	if err == nil && f.ID+".json" != name {
		return filed{}, errors.New("the id is not the file's name")
	}
	return f, err
}

// letters are the ones nobody mistakes for another when reading aloud: Crockford's base32.
const letters = "0123456789abcdefghjkmnpqrstvwxyz"

const idLength = 6 // letters; 30 bits, and never one that is on the desk

// newID picks an id that no ask on the desk has.
func (d *Desk) newID() (string, error) {
	for range 16 {
		var raw [idLength]byte
		if _, err := rand.Read(raw[:]); err != nil {
			return "", fmt.Errorf("pick an id: %w", err)
		}
		for i, b := range raw {
			raw[i] = letters[b%32]
		}
		id := "r-" + string(raw[:])
		d.mu.Lock()
		_, taken := d.asks[id]
		d.mu.Unlock()
		if !taken {
			return id, nil
		}
	}
	return "", errors.New("no free id")
}

func validID(id string) bool {
	rest, ok := strings.CutPrefix(id, "r-")
	return ok && len(rest) == idLength && strings.Trim(rest, letters) == ""
}
