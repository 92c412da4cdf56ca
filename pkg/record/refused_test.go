package record

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A connection whose tape could not be made is in the log twice, as a session and as a refusal. Counted twice
// it would make up for one that was removed.
func TestConnectionThatCouldNotBeRecordedCountsOnce(t *testing.T) {
	dir := t.TempDir()
	k := &kernel{life: 7}
	r := k.start(t, dir)
	k.run(t, r, "s1")
	must(t, os.Rename(filepath.Join(dir, "sessions"), filepath.Join(dir, "aside")))
	must(t, os.WriteFile(filepath.Join(dir, "sessions"), nil, 0o600))
	k.handed++
	f := &flow.Flow{ID: "s2", Identity: "bot", Destination: netip.MustParseAddrPort("10.0.0.1:80")}
	if _, err := r.Begin("s2", f); err == nil {
		t.Fatal("a tape was made below a file")
	}
	must(t, r.Log(flow.Event{
		Type: flow.RequestDecided, Session: "s2", Flow: f, Verdict: &flow.Decided{Verdict: flow.Deny, Reason: "the session cannot be recorded"},
	}))
	must(t, os.Remove(filepath.Join(dir, "sessions")))
	must(t, os.Rename(filepath.Join(dir, "aside"), filepath.Join(dir, "sessions")))
	k.handed++ // one that left no trace
	k.check(t, r)
	must(t, r.Close())
	report := verified(t, dir)
	if report.OK() || report.Flows.Kernel != 3 || report.Flows.Recorded != 2 || report.Flows.Missing != 1 {
		t.Errorf("a connection without a trace was made up for: %+v, broken %v", report.Flows, report.Broken)
	}
}
