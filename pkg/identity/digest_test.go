package identity

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestATouchedFileIsNotDigestedForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	d, now := &digests{}, time.Unix(1700000000, 0)
	first, err := d.of(path, 1, now)
	if err != nil {
		t.Fatal(err)
	}
	d.spent[1] = allowance
	if again, err := d.of(path, 1, now); again != first {
		t.Errorf("what is known costs nothing: %v", err)
	}
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
	if _, err := d.of(path, 1, now); !errors.Is(err, errTooMuch) {
		t.Errorf("over the allowance: %v", err)
	}
	if sum, err := d.of(path, 2, now); sum != first {
		t.Errorf("another enrollment: %v", err)
	}
	if err := os.Chtimes(path, now.Add(time.Hour), now); err != nil {
		t.Fatal(err)
	}
	if sum, err := d.of(path, 1, now.Add(2*time.Minute)); sum != first {
		t.Errorf("a minute later: %v", err)
	}
}
