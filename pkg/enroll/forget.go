package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Forget removes the registry that Open keeps in dir, once the kernel enforces nothing of it
// any more: who opens it next enrolls nothing again.
func Forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, registryFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget enrollments: %w", err)
	}
	return nil
}
