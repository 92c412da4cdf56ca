package record

import "fmt"

// Finding is something Verify has to say about a place in the record.
type Finding struct {
	Place
	What string `json:"what"`
}

func (f Finding) String() string {
	if f.Seq == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s at byte %d, entry %d: %s", f.File, f.Offset, f.Seq, f.What)
}

// Report is what Verify found.
type Report struct {
	Entries     uint64 `json:"entries"`
	First       uint64 `json:"first_seq"` // 1, or behind what was pruned
	Last        uint64 `json:"last_seq"`
	Checkpoints int    `json:"checkpoints"`
	Sealed      uint64 `json:"sealed_seq"` // the last entry a checkpoint is signed over; what follows could be cut off unseen
	Sessions    int    `json:"sessions"`
	Open        int    `json:"open_sessions"`
	Tapes       int    `json:"tapes"` // checked against their digests
	Pruned      int    `json:"pruned_tapes"`
	Flows       Flows  `json:"flows"`

	// Broken is what proves the record wrong, the log's places in order and before the tapes'.
	Broken []Finding `json:"broken,omitempty"`
	// Doubts are what a crash, or a hand, can have done.
	Doubts []Finding `json:"doubts,omitempty"`
}

// Flows compares what the kernel counted with what was recorded.
type Flows struct {
	Known    bool   `json:"known"`    // the checkpoints carry the kernel's counter
	Kernel   uint64 `json:"kernel"`   // connections turned to the proxy, over the checkpoints
	Recorded uint64 `json:"recorded"` // sessions and refusals
	Missing  uint64 `json:"missing"`  // turned, and never recorded
	// Unexplained were turned between the last checkpoint of one run and the first of the next, and never recorded.
	Unexplained uint64 `json:"unexplained"`
}

// OK says that nothing proves the record wrong.
func (r *Report) OK() bool { return len(r.Broken) == 0 }

// maxFindings bounds a report: one broken disk is not worth a million lines.
const maxFindings = 100

func (r *Report) broken(p Place, what string) {
	if len(r.Broken) < maxFindings {
		r.Broken = append(r.Broken, Finding{p, what})
	}
}

func (r *Report) doubt(p Place, what string) {
	if len(r.Doubts) < maxFindings {
		r.Doubts = append(r.Doubts, Finding{p, what})
	}
}
