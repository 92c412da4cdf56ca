package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// maskKeyBytes is the size of the host's masking secret.
const maskKeyBytes = 32

// maskKey reads the host's masking secret, or makes one. It is never
// replaced: tokens and hashes would change under those who compare them.
func maskKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, maskKeyBytes)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		err = os.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("masking key: %w", err)
	}
	if len(key) != maskKeyBytes {
		return nil, fmt.Errorf("masking key: %s has %d bytes, not %d", path, len(key), maskKeyBytes)
	}
	return key, nil
}
