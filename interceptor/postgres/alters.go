package postgres

import (
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// alters says that running a text may change definitions, though it is no DDL itself. Most
// functions cannot: everybody else's results would be hidden for nothing.
func (e *engine) alters(j *judged) bool {
	r := j.reading
	if r == nil || r.Unread != "" {
		return true
	}
	for i := range r.Statements {
		s := &r.Statements[i]
		if hides(s) || e.runsSuspects(s) || s.Node == "FetchStmt" && len(e.portals) > 0 { // it can run a portal
			return true
		}
	}
	return false
}

// hides says that a statement runs what does not stand in it. The body of a DO was read, and
// what it could not be read of is unknown.
func hides(s *sqlread.Statement) bool {
	if s.Opaque && !slices.Contains([]string{"FetchStmt", "ExecuteStmt", "CallStmt", "DoStmt"}, s.Node) {
		return true
	}
	return slices.ContainsFunc(s.Effects, func(e flow.Effect) bool {
		return e.Action == flow.Admin || e.Action == flow.Unknown || e.Action == flow.ExecuteHost
	})
}

// shakes says that a text which changes definitions may make one table part of another, whose
// rows it shows from then on.
func (e *engine) shakes(r *sqlread.Reading) bool {
	return r == nil || r.Unread != "" || slices.ContainsFunc(r.Statements, func(s sqlread.Statement) bool {
		switch s.Node {
		case "AlterTableStmt":
			return len(s.Relations) > 1
		case "FetchStmt":
			return true
		case "TransactionStmt": // COMMIT PREPARED: what that transaction did is not known
			return slices.ContainsFunc(s.Effects, func(e flow.Effect) bool { return strings.Contains(e.Object, "PREPARE") })
		case "DoStmt":
			return hides(&s) || e.runsSuspects(&s) || slices.ContainsFunc(s.Effects, func(e flow.Effect) bool { return e.Action == flow.Alter })
		}
		return hides(&s) || e.runsSuspects(&s)
	})
}

// runsSuspects says that a statement calls a function that may change definitions. Where the
// functions themselves may have changed meanwhile, that is asked again at the transaction's end.
func (e *engine) runsSuspects(s *sqlread.Statement) bool {
	if e.catalog == nil || len(s.Functions)+len(s.Relations)+len(s.Operators) == 0 {
		return false
	}
	snap, version, stale := e.catalog.known()
	switch {
	case snap == nil:
		return len(s.Functions) > 0
	case snap.suspects(s):
		return true
	case stale:
		for _, f := range s.Functions {
			e.doubted = append(e.doubted, f.Name)
		}
		e.doubtedAt = version
	}
	return len(e.doubted) > maxDoubted
}

// maxDoubted bounds the names that a transaction keeps.
const maxDoubted = 1000

func (s *snapshot) suspects(st *sqlread.Statement) bool {
	return s.lurks || slices.ContainsFunc(st.Functions, func(f sqlread.Name) bool { return s.alters[f.Name] }) ||
		slices.ContainsFunc(st.Fields, func(f string) bool { return s.alters[f] && s.ofRows[f] })
}

// known gives the newest snapshot, and says whether definitions have changed since.
func (c *catalog) known() (snap *snapshot, version uint64, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snap, c.version, c.snap == nil || c.snap.version != c.version
}

// resolve notes a change of definitions, unless it is known by now that none of the functions,
// called at a version, can have made one.
func (c *catalog) resolve(functions []string, at uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap != nil && c.snap.version >= at && !c.snap.lurks &&
		!slices.ContainsFunc(functions, func(f string) bool { return c.snap.alters[f] }) {
		return
	}
	c.version++
	c.shaken = c.version
}

// settleDoubts does so for what this session's transaction called.
func (e *engine) settleDoubts() {
	if len(e.doubted) > 0 {
		e.catalog.resolve(e.doubted, e.doubtedAt)
		e.doubted = nil
	}
}
