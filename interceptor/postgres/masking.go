package postgres

type plan struct{}

type catalogs struct{}

func (e *engine) masking() bool { return false }

func (e *engine) newPlan() *plan { return nil }

func (e *engine) boundary(*walk) (bool, error) { return true, nil }

func (e *engine) plan(*walk, []byte, *portal) {}

func (e *engine) maskRow(w *walk, o *owed, size int) (bool, error) { return false, violation{"masks"} }

func (e *engine) maskCopy(w *walk, o *owed, size int) (bool, error) { return false, violation{"masks"} }

func (e *engine) shape(w *walk, o *owed, typ byte, size int) (bool, error) { return true, nil }

func (e *engine) settled(*walk) {
	if e.queue.n == 0 {
		e.lexing.tuned = false
	}
}

func (e *engine) said(w *walk, typ byte, size int) (bool, error) {
	e.rest[1] = size
	return true, nil
}

func (e *engine) scrub(w *walk, o *owed, typ byte, size int) (bool, error) {
	e.rest[1] = size
	return true, nil
}
