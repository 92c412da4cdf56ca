package postgres

import (
	"bytes"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/jackc/pgproto3/v2"
)

// said takes what the server says unasked: notices, notifications, settings.
func (e *engine) said(w *walk, typ byte, size int) (bool, error) {
	if typ == 'N' {
		return e.scrub(w, e.queue.first(), typ, size)
	}
	if !e.masking() {
		e.rest[interceptor.Down] = size
		return true, nil
	}
	if size > maxRow {
		return false, violation{"the server sent more than can be looked at"}
	}
	if w.left() < size {
		return false, nil
	}
	set, with := e.s.Masks.Detectors()
	body := w.in[w.pos+wire.HeaderSize : w.pos+size]
	if e.s.Masks.HasColumns() && (e.laundered || e.sentByLaunderer(typ, body)) {
		if out := emptied(typ, body); out != nil {
			e.replaceDown(w, size, out)
			return true, nil
		}
	}
	if !set.Find(body) {
		w.pos += size
		return true, nil
	}
	out, at := wire.Begin(nil, typ)
	fixed := 0
	if typ == 'A' && len(body) >= 4 {
		fixed = 4 // the process id
	}
	out, n := set.Scrub(append(out, body[:fixed]...), body[fixed:], with)
	e.s.Meter.Masked(e.s.Flow.Identity, e.s.Flow.Target, n)
	e.replaceDown(w, size, wire.End(out, at))
	return true, nil
}

// emptied is a notification, or the status of a setting that takes any text, without its
// value; nil for other settings.
func emptied(typ byte, body []byte) []byte {
	out, at := wire.Begin(nil, typ)
	if typ == 'A' {
		if len(body) < 4 {
			return nil
		}
		channel, _, _ := wire.CString(body[4:])
		out = append(append(append(out, body[:4]...), channel...), 0)
		return wire.End(append(out, 0), at)
	}
	name, _, _ := wire.CString(body)
	switch string(name) {
	case "application_name", "search_path":
		return wire.End(append(append(append(out, name...), 0), 0), at)
	case "TimeZone":
		if bytes.IndexByte(body, '<') >= 0 { // <any text>0
			return wire.End(append(append(append(out, name...), 0), "UTC\x00"...), at)
		}
	}
	return nil
}

// sentByLaunderer says that a notification comes from a session that ran what may have put values into it.
func (e *engine) sentByLaunderer(typ byte, body []byte) bool {
	return typ == 'A' && len(body) >= 4 && e.catalog != nil && e.catalog.launders(number(body))
}

// scrub takes an error or a notice, and leaves out of it what may show values.
func (e *engine) scrub(w *walk, o *owed, typ byte, size int) (bool, error) {
	if o != nil && o.swallow && e.load != nil {
		e.load.failed = e.load.failed || typ == 'E'
		e.receive(w, size, true)
		return true, nil
	}
	if size > maxRow {
		return e.unread(w, size)
	}
	if w.left() < size {
		return false, nil
	}
	f, err := wire.ErrorFields(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if err != nil {
		return e.unread(w, size)
	}
	changed := e.leaveOutValues(o, f)
	switch {
	case tellsSecrets(o, f):
		taped := spoken(typ, withoutTexts(f))
		if !changed {
			w.passAs(size, taped)
			break
		}
		w.pass()
		w.out.Put(spoken(typ, f))
		e.reels[interceptor.Down].put(taped)
		w.skip(size)
	case changed:
		e.replaceDown(w, size, spoken(typ, f))
	default:
		w.pos += size
	}
	return true, nil
}

// unread takes an error that nobody can look at: the tape does without it.
func (e *engine) unread(w *walk, size int) (bool, error) {
	if e.masking() {
		return false, violation{"the server sent an error that cannot be read"}
	}
	w.pass()
	e.omitted[interceptor.Down] = true
	e.rest[interceptor.Down] = size
	return true, nil
}

func spoken(typ byte, f *pgproto3.ErrorResponse) []byte {
	if typ == 'N' {
		return wire.AppendNotice(nil, (*pgproto3.NoticeResponse)(f))
	}
	return wire.AppendError(nil, f)
}

// leaveOutValues says whether it had to leave something out.
func (e *engine) leaveOutValues(o *owed, f *pgproto3.ErrorResponse) bool {
	if !e.masking() {
		return false
	}
	n := 0
	e.recheck()
	if e.s.Masks.HasColumns() && !e.saysNothing(o, f) {
		n += strip(f, e.ownWords(o))
	}
	if n += e.scrubFields(f); n > 0 {
		f.UnknownFields = nil
	}
	return n > 0
}

// tellsSecrets says that an error may repeat a secret of its statement, or of one that a function
// ran. The client knows it, but no tape may have it. What functions ran stands between double quotes.
func tellsSecrets(o *owed, f *pgproto3.ErrorResponse) bool {
	if o != nil && o.stmt != nil {
		if _, same := o.stmt.j.redacted(); !same {
			return true
		}
	}
	return slices.ContainsFunc([]string{f.Message, f.Detail, f.Hint, f.Where, f.InternalQuery}, func(text string) bool {
		bare := strings.ReplaceAll(text, `"`, " ")
		return sqlread.Redact(bare) != bare
	})
}

// withoutTexts leaves of an error what the server says in a fixed way.
func withoutTexts(f *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	taped := *f
	taped.Message = "(not recorded, since it may repeat a secret of the statement)"
	taped.Detail, taped.Hint, taped.Where, taped.InternalQuery, taped.UnknownFields = "", "", "", "", nil
	return &taped
}

// saysNothing says that an error cannot show masked values: its statement has none, or
// it comes from the server's own upkeep.
func (e *engine) saysNothing(o *owed, f *pgproto3.ErrorResponse) bool {
	if o == nil {
		return f.SeverityUnlocalized == "FATAL" || f.SeverityUnlocalized == "PANIC"
	}
	switch o.step {
	case stepClose:
		return true
	case stepSync: // a deferred constraint or trigger speaks here
		return false
	case stepExecute, stepQuery, stepParse, stepBind, stepDescribePortal:
		return !o.others && e.clean(o.stmt)
	}
	return false
}

// ownWords says that an error's message is the server's: no code of users ran, whose RAISE
// could claim any SQLSTATE. Triggers run where a statement changes something.
func (e *engine) ownWords(o *owed) bool {
	if o == nil || o.step == stepParse {
		return true
	}
	if o.others || o.stmt == nil || !o.stmt.known || o.stmt.renamed || e.view == nil {
		return false
	}
	r := o.stmt.j.reading
	if r == nil || r.Unread != "" || r.Changes {
		return false
	}
	for i := range r.Statements {
		s := &r.Statements[i]
		if s.Opaque || e.view.calls(s) {
			return false
		}
		for _, n := range s.Relations {
			if e.view.views[n.Name] {
				return false // what a view calls is not seen
			}
		}
	}
	return true
}

// hiddenText stands for a message that may show values.
const hiddenText = "chaperone: the text of this message is hidden, since it may show masked values"

// strip leaves severity, code and place, and the message where it is the server's own and
// speaks of statements and servers only. An error of class 42 that points into the
// statement's text comes from analysing it, before any row is read; without a place it
// may come from a function that was given a value for a name.
func strip(f *pgproto3.ErrorResponse, own bool) int {
	analysed := strings.HasPrefix(f.Code, "42") && f.Position > 0 && f.InternalPosition == 0 && f.InternalQuery == "" && f.Where == ""
	if !analysed {
		f.Hint = ""
		if !own || !plainClass(f.Code) {
			f.Message = hiddenText
		}
		if !own && !slices.Contains(wellKnown, f.Code) {
			f.Code = "P0001" // RAISE takes any five characters for a code
		}
	}
	f.Detail, f.Where, f.InternalQuery = "", "", ""
	f.InternalPosition = 0
	f.SchemaName, f.TableName, f.ColumnName, f.DataTypeName, f.ConstraintName = "", "", "", "", ""
	return 1
}

// wellKnown are the codes drivers act on, and the commonest others.
var wellKnown = []string{"00000", "01000", "02000", "08P01", "0A000", "22001", "22003", "22007", "22008", "22012", "22023", "22P02", "22P03", "22P05",
	"23000", "23001", "23502", "23503", "23505", "23514", "23P01", "25001", "25006", "25P01", "25P02", "25P03", "26000", "28000", "2BP01",
	"34000", "40001", "40P01", "42501", "42601", "42703", "42704", "42710", "42803", "42804", "42883", "42P18", "42P01", "42P05", "42P07",
	"53100", "53200", "53300", "54000", "54001", "55006", "55P03", "57014", "57P01", "57P02", "57P03", "P0001", "P0002", "XX000"}

// plainClass lists the SQLSTATE classes (errcodes.txt) whose messages the server makes from
// its own state, never from rows.
func plainClass(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "25", "26", "28", "34", "3D", "40", "53", "55", "57":
		return true
	}
	return code == "42501"
}

// scrubFields runs the detectors on every text of an error.
func (e *engine) scrubFields(f *pgproto3.ErrorResponse) int {
	set, with := e.s.Masks.Detectors()
	if set == 0 {
		return 0
	}
	count := 0
	for _, s := range []*string{&f.Message, &f.Detail, &f.Hint, &f.Where, &f.InternalQuery, &f.SchemaName,
		&f.TableName, &f.ColumnName, &f.DataTypeName, &f.ConstraintName} {
		out, n := set.Scrub(nil, []byte(*s), with)
		if n > 0 {
			*s = string(out)
			count += n
		}
	}
	return count
}
