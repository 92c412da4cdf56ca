package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/enroll"
)

func TestACommandsEnvironmentIsItsUsersAndNotOurs(t *testing.T) {
	t.Setenv("CHAPERONE_STATE_DIR", "/x")
	t.Setenv("SUDO_USER", "alice")
	t.Setenv("HOME", "/root")
	t.Setenv("KEPT", "yes")
	own := environment(nil)
	if slices.ContainsFunc(own, func(v string) bool { return strings.HasPrefix(v, "CHAPERONE_") }) {
		t.Errorf("what was meant for Chaperone is in %v", own)
	}
	for _, v := range []string{"HOME=/root", "SUDO_USER=alice", "KEPT=yes"} {
		if !slices.Contains(own, v) {
			t.Errorf("%s is lost", v)
		}
	}
	theirs := environment(&enroll.Account{Name: "bot", Home: "/home/bot"})
	for _, v := range []string{"HOME=/home/bot", "USER=bot", "LOGNAME=bot", "KEPT=yes"} {
		if !slices.Contains(theirs, v) {
			t.Errorf("%s is not in %v", v, theirs)
		}
	}
	if slices.Contains(theirs, "HOME=/root") || slices.Contains(theirs, "SUDO_USER=alice") {
		t.Errorf("another's is in %v", theirs)
	}
}

func TestAReplayWaitsNoLongerThanWasAskedFor(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		fast := pacer{fast: true}
		bounded := pacer{limit: time.Nanosecond}
		for _, at := range []time.Duration{time.Hour, 2 * time.Hour, time.Minute} {
			if err := fast.until(t.Context(), at); err != nil {
				done <- err
				return
			}
			if err := bounded.until(t.Context(), at); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestADirectoryToBeMadeCanBeWrittenWhereItsParentCan(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "")
	for path, want := range map[string]bool{dir: true, dir + "/a/b/c": true, dir + "/file": false, dir + "/file/below": false} {
		if got := writable(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
