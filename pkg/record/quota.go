package record

import "sync/atomic"

// quota bounds the record's size. The last twentieth is the log's: what
// ends sessions can still be written when no more may be begun.
type quota struct {
	max  int64 // 0: none
	used atomic.Int64
}

func (q *quota) add(n int64) { q.used.Add(n) }

// admit refuses n more bytes of tape where the record is at its high-water mark.
func (q *quota) admit(n int64) error {
	if q.max > 0 && q.used.Load()+n > q.max-q.max/20 {
		return ErrQuota
	}
	return nil
}

// room refuses the log itself once the whole quota is used.
func (q *quota) room() error {
	if q.max > 0 && q.used.Load() >= q.max {
		return ErrQuota
	}
	return nil
}
