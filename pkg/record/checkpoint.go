package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// checkpoint is the result of a recorder.checkpoint event. Its note is signed and says:
//
//	chaperone record
//	<host>
//	<number of entries before this one>
//	<hex of the chain head they leave>
//	<hex SHA-256 of the JSON of claims>
type checkpoint struct {
	claims
	Note string `json:"note"`
}

// claims is what a checkpoint says beside the chain's head.
type claims struct {
	Every    int               `json:"every"`              // the next checkpoint is due after so many entries
	Counters map[string]uint64 `json:"counters,omitempty"` // the kernel's
	Open     []string          `json:"open,omitempty"`     // tapes of sessions that have not ended, sorted
	Closing  bool              `json:"closing,omitempty"`  // nothing follows in this run of the daemon
}

const noteTitle = "chaperone record"

// Mark is a place in the chain, as a checkpoint's note tells it.
type Mark struct {
	Host string
	Seq  uint64 // of the last entry before it
	Head string // hex SHA-256
	sum  string // hex SHA-256 of the claims
}

// sign makes the checkpoint that follows entry seq.
func sign(signer note.Signer, host string, seq uint64, head chain, c claims) (checkpoint, error) {
	sum, err := c.sum()
	if err != nil {
		return checkpoint{}, err
	}
	text := strings.Join([]string{noteTitle, host, strconv.FormatUint(seq, 10), hex.EncodeToString(head[:]), sum, ""}, "\n")
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return checkpoint{}, fmt.Errorf("sign checkpoint: %w", err)
	}
	return checkpoint{claims: c, Note: string(signed)}, nil
}

func (c claims) sum() (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode checkpoint: %w", err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// OpenMark checks a checkpoint note's signature with the public key and reads it.
func OpenMark(signed, publicKey string) (Mark, error) {
	verifier, err := note.NewVerifier(publicKey)
	if err != nil {
		return Mark{}, fmt.Errorf("public key: %w", err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return Mark{}, problem("checkpoint signature does not verify")
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 6 || lines[0] != noteTitle {
		return Mark{}, problem("checkpoint note is malformed")
	}
	seq, err := strconv.ParseUint(lines[2], 10, 64)
	if err != nil {
		return Mark{}, problem("checkpoint note is malformed")
	}
	return Mark{Host: lines[1], Seq: seq, Head: lines[3], sum: lines[4]}, nil
}

// verify checks a checkpoint against the chain it stands in: prev is the
// head after entry seq.
func (c checkpoint) verify(publicKey string, seq uint64, prev chain) error {
	m, err := OpenMark(c.Note, publicKey)
	if err != nil {
		return err
	}
	sum, err := c.sum()
	if err != nil {
		return err
	}
	if m.Seq != seq || m.Head != hex.EncodeToString(prev[:]) {
		return problem("checkpoint was signed over another history")
	}
	if m.sum != sum {
		return problem("checkpoint's counters or open sessions were changed")
	}
	return nil
}

// checkpointOf decodes the checkpoint out of an event's payload.
func checkpointOf(payload []byte) (checkpoint, error) {
	var ev struct {
		Result checkpoint `json:"result"`
	}
	if err := json.Unmarshal(payload, &ev); err != nil {
		return checkpoint{}, problem("checkpoint does not decode")
	}
	return ev.Result, nil
}
