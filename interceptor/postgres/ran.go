package postgres

// ran notes that a text was sent to be run.
func (e *engine) ran(j *judged) {
	t := j.traits
	if t&fetches != 0 {
		t |= e.cursors
	}
	// Who sees everything has no reason to hide what a function of his changes.
	alters := e.s.Masks.HasColumns() && e.alters(j)
	if t&declares != 0 {
		e.cursors |= t &^ (declares | fetches)
		if alters { // when it is fetched from
			e.cursors |= redefines
		}
	}
	if movesPortals(j) {
		clear(e.portals) // they are judged as the cursors they may be
		e.held = 0
	}
	if t&resets != 0 {
		e.set(j.text)
		e.reset, e.resetHere = true, true
	}
	if t&reverts != 0 && e.reset {
		e.set(j.text)
	}
	e.lexing.tuned = true
	if t&redefines != 0 || alters {
		e.redefined(j)
	}
	if t&launders != 0 {
		e.laundered = true
	}
	if j.reading != nil {
		e.prepared.note(j.reading, e.statements)
	}
	if t&renames != 0 || e.s.Masks.HasColumns() && e.gist(j).unseen {
		e.renames++
		e.prepared.doubt()
	}
}

// ends says that an owed entry is the last of its batch.
func (e *engine) ends(o *owed) bool {
	return o.step == stepSync || o.step == stepQuery || o.step == stepFunction
}

// awaits says that a name was given in an earlier batch of which it is not known whether the
// server carried it out, and has the message wait until it is.
func (e *engine) awaits(w *walk, batch int) bool {
	if batch >= e.sent || batch < e.done || e.queue.n == 0 {
		return false
	}
	e.until = batch + 1
	e.stalled, e.drain, w.out.Stalled = true, true, true
	return true
}

// movesPortals says that running a text may end portals, or give their names to SQL cursors.
func movesPortals(j *judged) bool {
	if j.reading == nil || j.reading.Unread != "" {
		return true
	}
	for i := range j.reading.Statements {
		s := &j.reading.Statements[i]
		switch s.Node {
		case "TransactionStmt", "DeclareCursorStmt", "ClosePortalStmt", "DiscardStmt":
			return true
		case "FetchStmt", "ExecuteStmt":
		default:
			if s.Opaque {
				return true
			}
		}
	}
	return false
}
