package record

import (
	"bufio"
	"errors"
	"io"
)

// Export writes the log's events from number from on as NDJSON: one event per line,
// the very bytes the chain is over, so that a copy can be checked against it. It
// passes over damaged places, which come back as the error, joined.
func (r *Reader) Export(w io.Writer, from uint64) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var damage error
	r.raw(cursor{seq: from}, "", func(payload []byte, err error) bool {
		if err != nil {
			damage = errors.Join(damage, err)
			return true
		}
		_, _ = out.Write(payload) // an error sticks until Flush
		return out.WriteByte('\n') == nil
	})
	return errors.Join(out.Flush(), damage)
}
