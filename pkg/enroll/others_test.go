package enroll

import (
	"errors"
	"testing"
)

func TestAnothersEnrollmentIsNotEnded(t *testing.T) {
	p := newPlace(t)
	e, err := p.Add("bot", p.make(t, "/a"), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.RemoveIf(e.Cgroup, Of("other"))
	if others, ok := errors.AsType[OthersError](err); !ok || others.Identity != "bot" || len(p.List()) != 1 {
		t.Errorf("ended as another's: %v, left %v", err, p.List())
	}
	if _, err := p.RemoveIf(e.Cgroup, Of("bot")); err != nil || len(p.List()) != 0 || len(p.kernel.dirs) != 0 {
		t.Errorf("not ended as its own: %v, left %v", err, p.List())
	}
	if _, err := p.RemoveIf(e.Cgroup, Of("bot")); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("ended twice: %v", err)
	}
}
