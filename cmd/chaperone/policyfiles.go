package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/rules"
)

// readPolicy reads one policy file, or every *.yaml of a folder except fixtures.
func readPolicy(path string) ([]rules.File, error) {
	names, err := policyNames(path)
	if err != nil {
		return nil, err
	}
	var files []rules.File
	for _, name := range names {
		if rules.IsFixture(name) {
			continue
		}
		file, err := readRegular(name)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, api.Hint(fmt.Errorf("no *.yaml in %s", path), "a policy names identities, targets and grants; see docs/policy.md")
	}
	return files, nil
}

func policyNames(path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, api.Hint(fmt.Errorf("no policy at %s", path), "write one, or name another place with --policy")
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	if err := ours(path, info); err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return filepath.Glob(filepath.Join(path, "*.yaml"))
}

// bundle says what is wrong with a file of PEM certificates.
func bundle(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	pem, err := os.ReadFile(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s holds no certificate", path)
	}
	return err
}

// policyLimit is one byte more than a policy file may have: the parser says so.
const policyLimit = 1<<20 + 1

// readRegular reads a file of the policy. A pipe or a device is refused before it
// is opened, and what takes its place meanwhile is opened without waiting for anybody.
func readRegular(name string) (rules.File, error) {
	if err := regular(name, os.Stat); err != nil {
		return rules.File{}, err
	}
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return rules.File{}, err
	}
	defer file.Close()
	if err := regular(name, func(string) (fs.FileInfo, error) { return file.Stat() }); err != nil {
		return rules.File{}, err
	}
	data, err := io.ReadAll(io.LimitReader(file, policyLimit))
	return rules.File{Name: name, Data: data}, err
}

func regular(name string, stat func(string) (fs.FileInfo, error)) error {
	info, err := stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file (move it away, or write the policy in a file)", name)
	}
	return ours(name, info)
}

// ours refuses what somebody else can change: who writes the policy commands the daemon.
func ours(name string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s can be written by anybody (chmod o-w it)", name)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !slices.Contains(lawgivers(), owner) {
		return fmt.Errorf("%s belongs to user %d (chown it to root)", name, owner)
	}
	return nil
}

// lawgivers are the users whose files may be a policy: root, whoever we are, and
// who became root by sudo to be here.
func lawgivers() []uint32 {
	list := []uint32{0, uint32(os.Geteuid())}
	if by, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32); err == nil && os.Geteuid() == 0 {
		list = append(list, uint32(by))
	}
	return list
}
