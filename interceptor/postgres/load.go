package postgres

import (
	"encoding/binary"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// OIDs of system catalogs, as pg_depend names them.
const (
	classOf     = 1259 // pg_class
	typeOf      = 1247 // pg_type
	collationOf = 3456 // pg_collation
)

// maxCatalog bounds a snapshot, in bytes of answers.
const maxCatalog = 64 << 20

// loader is a catalog load under way.
type loader struct {
	snap   *snapshot
	query  int
	bytes  int
	failed bool
}

// loads asks for the catalog, in one batch that leaves the client's unnamed
// statement and portal alone.
func (e *engine) loads(w *walk) {
	name := failingName()
	var batch []byte
	for _, text := range catalogQueries {
		batch = wire.AppendParse(batch, name, text)
		batch = wire.AppendBindBinary(batch, name)
		batch = wire.AppendExecute(batch, name)
		batch = wire.AppendClose(batch, 'P', name)
		batch = wire.AppendClose(batch, 'S', name)
		for _, s := range []step{stepParse, stepBind, stepExecute, stepClose, stepClose} {
			e.queue.push(owed{step: s, swallow: true})
		}
	}
	e.queue.push(owed{step: stepSync, swallow: true})
	w.put(append(batch, 'S', 0, 0, 0, 4))
	e.load = &loader{snap: &snapshot{
		version: e.catalog.begin(), taken: time.Now(), relations: map[uint32]*relation{}, columns: map[attribute]attributeIs{},
		parents: map[uint32][]uint32{}, uses: map[uint32][]uint32{}, rules: map[uint32][]uint32{}, computed: map[uint32]bool{}, functions: map[string]bool{},
		operators: map[string]bool{}, alters: map[string]bool{}, ofRows: map[string]bool{}, lively: map[uint32]bool{},
		types: map[string]bool{}, odd: map[uint32]bool{}, generated: map[attribute][]int16{},
	}}
}

// loadedRow takes a row of the catalog.
func (e *engine) loadedRow(w *walk, size int) (bool, error) {
	if size > maxLogin {
		return false, violation{"a catalog row is too long"}
	}
	if w.left() < size {
		return false, nil
	}
	l := e.load
	values, err := wire.DataRow(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if err != nil || l == nil {
		return false, violation{"the server sent a bad catalog row"}
	}
	if l.bytes += size; l.bytes > maxCatalog || !l.take(values) {
		l.failed = true
	}
	w.skip(size)
	return true, nil
}

// take enters a row; false when it is not as it has to be.
func (l *loader) take(v [][]byte) bool {
	s := l.snap
	switch {
	case l.query == 0 && len(v) == 4 && len(v[0]) == 4 && len(v[3]) == 1:
		s.relations[number(v[0])] = &relation{schema: string(v[1]), name: string(v[2]), kind: v[3][0]}
	case l.query == 1 && len(v) == 5 && len(v[0]) == 4 && len(v[1]) == 2 && len(v[3]) == 4 && len(v[4]) == 4:
		s.columns[attribute{number(v[0]), int16(binary.BigEndian.Uint16(v[1]))}] =
			attributeIs{string(v[2]), number(v[3]), int32(number(v[4]))}
	case l.query == 2 && len(v) == 2 && len(v[0]) == 4 && len(v[1]) == 4:
		s.parents[number(v[0])] = append(s.parents[number(v[0])], number(v[1]))
	case l.query == 3 && len(v) == 4 && len(v[0]) == 4 && len(v[1]) == 1 && len(v[2]) == 4 && len(v[3]) == 4:
		l.depends(number(v[0]), v[1][0] == onSelect, number(v[2]), number(v[3]))
	case l.query == 4 && len(v) == 1:
		s.functions[string(v[0])] = true
	case l.query == 5 && len(v) == 1:
		s.operators[string(v[0])] = true
	case l.query == 6 && len(v) == 1 && len(v[0]) == 0:
		s.lurks = true
	case l.query == 6 && len(v) == 1:
		s.alters[string(v[0])] = true
	case l.query == 7 && len(v) == 1:
		s.ofRows[string(v[0])] = true
	case l.query == 8 && len(v) == 2 && len(v[0]) == 4 && len(v[1]) == 1:
		s.lively[number(v[0])] = s.lively[number(v[0])] || v[1][0] != 0
	case l.query == 9 && len(v) == 2 && len(v[1]) == 4:
		s.peculiar(string(v[0]), number(v[1]))
	case l.query == 10 && len(v) == 3 && len(v[0]) == 4 && len(v[1]) == 2 && len(v[2]) == 4:
		a := attribute{number(v[0]), int16(binary.BigEndian.Uint16(v[1]))}
		s.generated[a] = append(s.generated[a], int16(number(v[2])))
	default:
		return false
	}
	return true
}

// peculiar notes a type whose values run code of users, and the relation whose row it is.
func (s *snapshot) peculiar(name string, relation uint32) {
	if name == "" {
		s.casts = true
		return
	}
	s.types[name] = true
	if relation != 0 {
		s.odd[relation] = true
	}
}

// onSelect is pg_rewrite.ev_type of the rule that makes a view; others run where rows are written.
const onSelect = '1'

// depends notes what a rule of a relation is made of.
func (l *loader) depends(on uint32, makes bool, class, object uint32) {
	s := l.snap
	switch {
	case class == typeOf || class == collationOf:
	case class == classOf && makes:
		s.uses[on] = append(s.uses[on], object)
	case class == classOf:
		s.rules[on] = append(s.rules[on], object)
	case makes:
		s.computed[on] = true
	}
}

func number(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// loaded ends a load. One that failed is tried again later; until then nothing is known.
func (e *engine) loaded() {
	l := e.load
	e.load = nil
	if l.failed || l.query != len(catalogQueries) {
		e.retry = time.Now().Add(10 * time.Second)
		e.s.Log.Warn("catalog not loaded: everything that is not known is masked", "session", e.s.ID)
		return
	}
	e.catalog.publish(l.snap)
}

// boundary makes sure, between two batches, that the catalog is known; false
// means that the message waits.
func (e *engine) boundary(w *walk) (bool, error) {
	if !e.s.Masks.HasColumns() {
		return true, nil
	}
	if e.catalog == nil {
		e.catalog = e.p.catalogs.of(database{e.s.Flow.Destination, e.database})
		e.catalog.met(e.cancel.pid)
	}
	if e.batching {
		return true, nil
	}
	now := time.Now()
	snap, dirty, old := e.catalog.newest(now)
	if !old && !e.unknown {
		e.look(snap, dirty)
		return true, nil
	}
	if e.queue.n > 0 {
		e.stalled, e.drain, w.out.Stalled = true, true, true
		return false, nil
	}
	if e.status != 'I' || now.Before(e.retry) {
		e.look(snap, dirty)
		return true, nil
	}
	e.unknown = false
	w.pass()
	e.loads(w)
	e.stalled, e.drain, w.out.Stalled = true, true, true
	return false, nil
}

// look takes a snapshot for the statements that follow.
func (e *engine) look(snap *snapshot, dirty bool) {
	e.dirty = dirty || snap == nil
	if snap == nil {
		e.view = nil
		return
	}
	if e.view == nil || e.view.snap != snap || e.view.masks != e.s.Masks {
		e.view = e.catalog.see(snap, e.s.Flow.Identity+"\x00"+e.s.Flow.Target, e.s.Masks)
	}
}

// redefined notes that definitions may change from here on, by a text.
func (e *engine) redefined(j *judged) {
	e.dirty = true
	if e.catalog == nil {
		e.catalog = e.p.catalogs.of(database{e.s.Flow.Destination, e.database})
	}
	opened := 0
	if !e.opened {
		opened, e.opened = 1, true
	}
	e.shook = e.shook || e.shakes(j.reading)
	e.catalog.changed(opened, e.shook)
}

// settled notes that a batch is over.
func (e *engine) settled() {
	if e.queue.n == 0 {
		e.lexing.tuned = false
	}
	if e.load != nil {
		e.loaded()
	}
	if e.status != 'I' || e.queue.n > 0 {
		return
	}
	if e.opened {
		e.catalog.changed(-1, e.shook)
		e.opened, e.shook = false, false
	}
	e.settleDoubts()
}

// harmless lists the actions that neither compute with code of users nor change definitions. What event
// triggers watch is none of them, GRANT included.
func harmless(action string) bool {
	switch action {
	case flow.Read, flow.Insert, flow.Update, flow.Delete, flow.Truncate, flow.Merge, flow.CopyIn, flow.CopyOut,
		flow.Lock, flow.Maintain, flow.SessionSet, flow.Transaction:
		return true
	}
	return false
}
