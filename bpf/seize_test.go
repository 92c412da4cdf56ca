package bpf

import (
	"errors"
	"fmt"
	"testing"
)

func TestPinsAreOneDoorsAlone(t *testing.T) {
	h := newHouse(t)
	if d, err := Open(h.options); !errors.Is(err, ErrBusy) {
		t.Errorf("a second door: %v", err)
		d.Close()
	}
	if err := Remove(h.options.PinDir); !errors.Is(err, ErrBusy) {
		t.Errorf("taken away under an open door: %v", err)
	}
	if got := run(t, h.cgroup, "tcp", "203.0.113.9:1"); got != "203.0.113.9:1 peer 203.0.113.9:1" {
		t.Errorf("got %q", got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(h.options)
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	d.Close()
}

// Whoever gives a number twice must not free the cgroup that had it.
func TestPinsOfAnotherCgroupStayWhereTheyAre(t *testing.T) {
	h := newHouse(t)
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-twice-%d", h.port))
	if err := h.Enroll(other, 7); !errors.Is(err, ErrElsewhere) {
		t.Errorf("enrolled as another's number: %v", err)
	}
	if err := h.Unenroll(other, 7); !errors.Is(err, ErrElsewhere) {
		t.Errorf("unenrolled by another's number: %v", err)
	}
	if got := run(t, h.cgroup, "socket", "2", "3", "1"); got != "EPERM" {
		t.Errorf("a raw socket: %q", got)
	}
	if got := run(t, other, "socket", "2", "3", "1"); got != "made" {
		t.Errorf("a raw socket of the other: %q", got)
	}
}
