package postgres

import (
	"errors"
	"slices"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/chaperone-dev/chaperone/rules"
	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
	"github.com/jackc/pgproto3/v2"
)

// plan says what becomes of each column of one portal's rows.
type plan struct {
	shaped  bool // its RowDescription was seen
	rows    bool // it has rows at all
	masks   *rules.Masks
	columns []column
	busy    bool // some column does not just pass
	told    bool // the client knows that some are hidden for uncertainty only
	copying *copying
}

type action uint8

const (
	passes   action = iota
	detected        // what detectors find in it is hidden
	masked          // a plain column that a mask names: NULL stays NULL
	hidden          // computed, or not known: a constant, whatever it was
)

// column is what becomes of one column.
type column struct {
	action action
	with   mask.Mask
	set    detect.Set
	oid    uint32 // type
	size   int32  // type modifier
	binary bool
}

// masking says that results have to be looked at.
func (e *engine) masking() bool { return !e.s.Masks.Empty() }

// newPlan makes a portal's plan; nil when nothing is masked.
func (e *engine) newPlan() *plan {
	if !e.masking() {
		return nil
	}
	return &plan{}
}

// plan makes sure that a portal's shape is known when its rows come. SQL can close
// a named portal and give its name to another, so these are asked about each time.
func (e *engine) plan(w *walk, name []byte, p *portal) {
	if !e.masking() {
		return
	}
	if p.plan == nil || p.plan.shaped && p.plan.masks != e.s.Masks { // the policy is newer than the portal
		p.plan = &plan{copying: copyingOf(p.plan)}
		if len(name) == 0 {
			e.unbound.plan, e.described = p.plan, false
		}
	}
	if len(name) == 0 && e.described {
		return
	}
	w.put(wire.AppendDescribePortal(nil, string(name)))
	e.queue.push(owed{step: stepDescribePortal, swallow: true, stmt: p.stmt, plan: p.plan})
	e.described = len(name) == 0
}

func copyingOf(p *plan) *copying {
	if p == nil {
		return nil
	}
	return p.copying
}

// shape takes a RowDescription or NoData.
func (e *engine) shape(w *walk, o *owed, typ byte, size int) (bool, error) {
	if o.plan == nil || o.step == stepDescribeStatement {
		return true, nil
	}
	p := o.plan
	*p = plan{shaped: true, rows: typ == 'T', masks: e.s.Masks, copying: p.copying, told: p.told}
	if typ != 'T' {
		return true, nil
	}
	if size > interceptor.MaxBuffer/2 {
		return false, violation{"the server sent a shape that is too long"}
	}
	if w.left() < size {
		return false, nil
	}
	body := w.in[w.pos+wire.HeaderSize : w.pos+size]
	e.recheck()
	clean := e.clean(o.stmt)
	if clean && e.remembers(o.stmt, body, p) {
		return true, nil
	}
	if err := wire.RowDescription(&e.fields, body); err != nil {
		return false, violation{"the server sent a bad shape"}
	}
	for i := range e.fields.Fields {
		c := e.column(&e.fields.Fields[i], clean)
		p.columns = append(p.columns, c)
		p.busy = p.busy || c.action != passes
		p.told = p.told || c.action == hidden && e.excuse(o.stmt)
	}
	if clean {
		e.remember(o.stmt, body, p)
	}
	return true, nil
}

// excuse tells the client that values are hidden only because definitions are changing, if
// that is so: a count that reads 0 is no count.
func (e *engine) excuse(s *statement) bool {
	if !e.dirty || e.view == nil || s == nil || !s.known || s.renamed || !e.gist(s.j).clean {
		return false
	}
	e.Tell("chaperone: values of this result are hidden, since definitions of this database are changing at this moment; run the statement again in a while")
	return true
}

// recheck notices definitions that changed while a statement was on its way.
func (e *engine) recheck() {
	if e.s.Masks.HasColumns() && e.view != nil && e.catalog.stale(e.view.snap) {
		e.dirty = true
	}
}

// clean says that what a statement computes can be shown.
func (e *engine) clean(s *statement) bool {
	if !e.s.Masks.HasColumns() {
		return true
	}
	return s != nil && s.known && !s.renamed && !e.dirty && e.gist(s.j).clean &&
		!(e.laundered && showsSettings(s.j.reading))
}

// showsSettings says that a text shows a setting somebody may have hidden a value in.
func showsSettings(r *sqlread.Reading) bool {
	for i := range r.Statements {
		s := &r.Statements[i]
		if s.Node == "VariableShowStmt" {
			return true
		}
		for _, n := range s.Relations {
			if n.Name == "pg_settings" {
				return true
			}
		}
		for _, f := range s.Functions {
			if f.Name == "current_setting" || f.Name == "set_config" || f.Name == "pg_show_all_settings" {
				return true
			}
		}
	}
	return false
}

// column decides about one column.
func (e *engine) column(f *pgproto3.FieldDescription, clean bool) column {
	c := column{oid: f.DataTypeOID, size: f.TypeModifier, binary: f.Format == 1}
	if e.s.Masks.HasColumns() {
		c.action, c.with = e.origin(f, clean)
	}
	if c.action != passes {
		return c
	}
	if set, with := e.s.Masks.Detectors(); set != 0 && textual(c.oid) {
		c.action, c.with, c.set = detected, with, set
	}
	return c
}

// origin tells how a column of a table is masked, and hides what is not one.
func (e *engine) origin(f *pgproto3.FieldDescription, clean bool) (action, mask.Mask) {
	number := int16(f.TableAttributeNumber)
	switch {
	case f.TableOID == 0 && clean:
		return passes, mask.Mask{}
	case f.TableOID == 0, e.view == nil:
		return hidden, mask.Mask{}
	}
	v := e.view
	r := v.snap.relations[f.TableOID]
	switch {
	case r == nil:
		return e.unmet(v, attribute{f.TableOID, number})
	case f.TableOID < firstUser && (leaks(r) || e.laundered && r.name == "pg_settings"):
		return hidden, mask.Mask{}
	case f.TableOID < firstUser, r.kind == 'S':
		return passes, mask.Mask{}
	case (r.kind == 'v' || r.kind == 'm') && (e.dirty || v.derives(f.TableOID, 0)):
		return hidden, mask.Mask{}
	}
	return e.ofRelation(v, attribute{f.TableOID, number})
}

// unmet decides about a column of a relation that the snapshot does not have.
func (e *engine) unmet(v *view, a attribute) (action, mask.Mask) {
	e.unknown = true
	if with, ok := v.columns[a]; ok {
		return masked, with
	}
	return hidden, mask.Mask{}
}

// ofRelation decides about a column of a table, or of a view that is made of nothing masked.
// Of another kind (foreign tables) only what a mask names is shown at all.
// Number 0 is the whole row, below 0 stand system columns.
func (e *engine) ofRelation(v *view, a attribute) (action, mask.Mask) {
	if v.made[a] {
		return hidden, mask.Mask{}
	}
	if with, ok := v.columns[a]; ok {
		return masked, with
	}
	if v.derives(a.relation, 0) || e.dirty && e.catalog.shook(v.snap) {
		return hidden, mask.Mask{}
	}
	if a.number < 0 || a.number == 0 && !v.hidden[a.relation] {
		return passes, mask.Mask{}
	}
	if _, known := v.snap.columns[a]; known {
		return passes, mask.Mask{}
	}
	e.unknown = e.unknown || a.number != 0
	return hidden, mask.Mask{}
}

// hide records that a statement the policy allowed is refused for its target's masks.
func (e *engine) hide(j *judged, r *refusal) error {
	refused := *j
	refused.answer.Verdict, refused.answer.Cause, refused.answer.Rule = flow.Deny, interceptor.ByIgnorance, "(masks)"
	e.s.Log.Info("statement refused for its target's masks", "session", e.s.ID, "why", r.detail)
	if err := e.s.Refused(j.request, "(masks)", r.detail); err != nil {
		return errors.Join(errRecord, err)
	}
	return e.note(&refused)
}

// unshowable refuses a statement whose masked values could not be hidden: carried off into a
// setting or a notification, or copied in a form that cannot be masked. p learns how a
// copy is masked.
func (e *engine) unshowable(j *judged, p *plan) *refusal {
	if !e.masking() || j.reading == nil {
		return nil
	}
	c, why := e.copyPlan(j)
	if p != nil && p.copying == nil { // a portal that copies already goes on as it began
		p.copying = c
	}
	if why == "" && e.s.Masks.HasColumns() && !e.gist(j).clean {
		if why = e.sinking(j.reading); why == "" && e.view != nil && slices.ContainsFunc(j.reading.Statements, e.carriesOff) {
			why = "it would copy masked values to where no mask names them"
		}
	}
	if why == "" {
		return nil
	}
	return &refusal{code: "42501", message: "chaperone refused this statement: its target has masked columns", detail: "Reason: " + why}
}
