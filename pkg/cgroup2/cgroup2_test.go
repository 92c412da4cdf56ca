package cgroup2

import (
	"errors"
	"os"
	"testing"
)

func TestRootIsTheUnifiedHierarchy(t *testing.T) {
	root, err := Root()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil { // which v1's have not
		t.Error(err)
	}
}
