package postgres

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/chaperone-dev/chaperone/rules"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// catalogAge is how long a snapshot is believed: what changes the database without
// passing here is not noticed otherwise.
const catalogAge = time.Minute

// firstUser is the first OID that initdb does not give (FirstNormalObjectId).
const firstUser = 16384

// catalogs are the databases that sessions with column masks look at. mu guards by.
type catalogs struct {
	mu sync.Mutex
	by map[database]*catalog
}

type database struct {
	address netip.AddrPort
	name    string
}

func (c *catalogs) of(d database) *catalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[database]*catalog{}
	}
	if c.by[d] == nil {
		c.by[d] = &catalog{}
	}
	return c.by[d]
}

// catalog is what is known of one database. mu guards all of it.
type catalog struct {
	mu      sync.Mutex
	version uint64 // grows with every statement that may change definitions
	shaken  uint64 // the newest version at which one table may have become part of another
	open    int    // sessions whose transaction has changed definitions, and is not over
	snap    *snapshot
	stuck   map[string]map[attribute]mask.Mask // by identity and target: once masked, always masked
	views   map[seer]*view                     // of snap
	applied uint64                             // views that were made
	// launderers are the server's processes in which sessions with masks ran what may put values into
	// notifications. They stay after its end, as those may come later, until another session has the number.
	launderers map[uint32]bool
}

// seer is whose masks a view is seen with.
type seer struct {
	who   string // identity and target
	masks *rules.Masks
}

// attribute is one column of one relation.
type attribute struct {
	relation uint32
	number   int16
}

// attributeIs is what a column is.
type attributeIs struct {
	name string
	oid  uint32 // type
	size int32  // type modifier
}

// snapshot is the definitions at one time. It is not changed once published.
type snapshot struct {
	version   uint64
	taken     time.Time
	relations map[uint32]*relation
	columns   map[attribute]attributeIs
	parents   map[uint32][]uint32
	generated map[attribute][]int16 // the columns of its row that a column is computed from
	uses      map[uint32][]uint32   // view: relations
	rules     map[uint32][]uint32   // relation: those that its rules for writing name, itself among them
	computed  map[uint32]bool       // view: it calls functions that are not the system's
	functions map[string]bool       // names of functions that are not the system's
	operators map[string]bool       // names of operators that are neither the system's nor an extension's machine code
	ofRows    map[string]bool       // names of such functions that take a row: r.f calls them
	types     map[string]bool       // names of types whose values run code of users
	odd       map[uint32]bool       // relations with columns of such types
	casts     bool                  // any type may be one
	lively    map[uint32]bool       // relations where writing runs code of users; true: reading too
	alters    map[string]bool       // functions that may change definitions
	lurks     bool                  // and one of them may run without being named
}

type relation struct {
	schema, name string
	kind         byte // pg_class.relkind
}

// plain says that a relation's rows are its own.
func (r *relation) plain() bool { return r.kind == 'r' || r.kind == 'p' }

// newest gives the newest snapshot. dirty says that definitions may differ from it or be changing
// at this moment, old that it should be taken again.
func (c *catalog) newest(now time.Time) (snap *snapshot, dirty, old bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap == nil || c.snap.version != c.version {
		return c.snap, true, true
	}
	return c.snap, c.open > 0, now.Sub(c.snap.taken) > catalogAge
}

// stale says that definitions may differ from s by now. Whoever changes them says so
// before the server hears of it; so what the server described before an answer of no is as in s.
func (c *catalog) stale(s *snapshot) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.version != c.version || c.open > 0
}

// changed notes that definitions may have changed, and which tables are part of which with
// them if it shook.
func (c *catalog) changed(opened int, shook bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.open += opened
	if shook {
		c.shaken = c.version
	}
}

// shook says that since s a table may have become part of another.
func (c *catalog) shook(s *snapshot) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.version < c.shaken
}

// launder notes that a session runs what may put values into notifications.
func (c *catalog) launder(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.launderers == nil {
		c.launderers = map[uint32]bool{}
	}
	c.launderers[pid] = true
}

// launders says whether one did in that process.
func (c *catalog) launders(pid uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.launderers[pid]
}

// met notes a new session: what ran in its process before is over.
func (c *catalog) met(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.launderers, pid)
}

// begin gives the version a load starts at.
func (c *catalog) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// publish takes a loaded snapshot over, unless a newer one is there.
func (c *catalog) publish(s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap == nil || c.snap.version <= s.version {
		c.snap, c.views = s, nil
	}
}

// view is a snapshot seen with one identity's masks. Once made it is not changed.
type view struct {
	number  uint64 // from 1, no two of a catalog have the same
	snap    *snapshot
	masks   *rules.Masks
	columns map[attribute]mask.Mask
	hidden  map[uint32]bool    // relations with columns that masks name
	made    map[attribute]bool // columns that are generated from such columns
	tainted map[uint32]bool    // memo of taints
	derived map[uint32]bool    // memo of derives
	views   map[string]bool    // names of relations that are not plain tables
	names   map[string]bool    // names of relations that may show masked values, in any schema
	stirred map[string]bool    // names of relations where writing runs code of users
	watched map[string]bool    // names of relations where reading does
}

// see gives the view of a snapshot with masks. It is made once.
func (c *catalog) see(s *snapshot, who string, masks *rules.Masks) *view {
	by := seer{who, masks}
	c.mu.Lock()
	v := c.views[by]
	c.mu.Unlock()
	if v != nil && v.snap == s {
		return v
	}
	v = c.apply(s, who, masks)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snap == s {
		if c.views == nil || len(c.views) >= maxViews {
			c.views = map[seer]*view{}
		}
		c.views[by] = v
	}
	return v
}

// maxViews bounds the views of one snapshot: policies that are gone leave theirs behind.
const maxViews = 256

// apply applies masks to a snapshot.
func (c *catalog) apply(s *snapshot, who string, masks *rules.Masks) *view {
	v := &view{snap: s, masks: masks, hidden: map[uint32]bool{}, made: map[attribute]bool{}, tainted: map[uint32]bool{}, derived: map[uint32]bool{}, names: map[string]bool{}, views: map[string]bool{},
		stirred: map[string]bool{}, watched: map[string]bool{}}
	c.mu.Lock()
	c.applied++
	v.number = c.applied
	if c.stuck == nil {
		c.stuck = map[string]map[attribute]mask.Mask{}
	}
	if c.stuck[who] == nil {
		c.stuck[who] = map[attribute]mask.Mask{}
	}
	stuck := c.stuck[who]
	for a, is := range s.columns {
		if with, ok := v.named(a.relation, is.name, 0); ok {
			stuck[a] = with
		}
	}
	v.columns = make(map[attribute]mask.Mask, len(stuck))
	for a, with := range stuck {
		v.columns[a] = with
		v.hidden[a.relation] = true
	}
	c.mu.Unlock()
	v.bequeath()
	v.generate()
	c.stick(stuck, v.made)
	for oid, r := range s.relations {
		if v.taints(oid, 0) {
			v.names[r.name] = true
		}
		v.derives(oid, 0) // the last that writes to the view
		if !r.plain() && oid >= firstUser {
			v.views[r.name] = true
		}
		v.stirred[r.name] = v.stirred[r.name] || v.lively(oid, 0)
		v.watched[r.name] = v.watched[r.name] || s.lively[oid] || s.odd[oid]
	}
	return v
}

// maxDepth bounds the way from a relation to what it is made of.
const maxDepth = 64

// named says how a column is masked by its name, in its own table or an ancestor.
func (v *view) named(oid uint32, column string, depth int) (mask.Mask, bool) {
	r := v.snap.relations[oid]
	if r == nil || depth > maxDepth {
		return mask.Mask{}, depth > maxDepth
	}
	if with, ok := v.masks.Column(r.schema, r.name, column); ok {
		return with, true
	}
	for _, parent := range v.snap.parents[oid] {
		if with, ok := v.named(parent, column, depth+1); ok {
			return with, true
		}
	}
	return mask.Mask{}, false
}

// generate finds the columns that are generated from masked ones, and no mask names.
func (v *view) generate() {
	for a, from := range v.snap.generated {
		if _, named := v.named(a.relation, v.snap.columns[a].name, 0); named {
			continue
		}
		if slices.ContainsFunc(from, func(n int16) bool { _, hides := v.columns[attribute{a.relation, n}]; return hides }) {
			v.made[a] = true
		}
	}
}

// stick keeps generated columns masked, should they become columns like others (DROP EXPRESSION).
func (c *catalog) stick(stuck map[attribute]mask.Mask, made map[attribute]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range made {
		stuck[a] = mask.Mask{Op: mask.Redact}
	}
}

// heir is a column by its name.
type heir struct {
	relation uint32
	column   string
}

// bequeath masks what shows the rows of tables with masked columns as its own: the tables that
// they are part of.
func (v *view) bequeath() {
	heirs := map[heir]mask.Mask{}
	for a, with := range v.columns {
		if is, known := v.snap.columns[a]; known {
			v.rise(heirs, heir{a.relation, is.name}, with, 0)
		}
	}
	for a, is := range v.snap.columns {
		if with, ok := heirs[heir{a.relation, is.name}]; ok {
			v.columns[a], v.hidden[a.relation] = with, true
		}
	}
}

// rise enters a column's heirs in all that its table is part of. Where two masks meet, what
// both hide is hidden.
func (v *view) rise(heirs map[heir]mask.Mask, of heir, with mask.Mask, depth int) {
	for _, parent := range v.snap.parents[of.relation] {
		up, hides := heir{parent, of.column}, with
		if have, met := heirs[up]; met && have.Op != with.Op {
			hides = mask.Mask{Op: mask.Redact}
		}
		if depth < maxDepth {
			heirs[up] = hides
			v.rise(heirs, up, hides, depth+1)
		}
	}
}

// taints says whether a relation may show masked values somewhere.
func (v *view) taints(oid uint32, depth int) bool {
	if t, known := v.tainted[oid]; known {
		return t
	}
	if v.snap.relations[oid] == nil {
		return true
	}
	t := v.look(oid, depth)
	v.tainted[oid] = t
	return t
}

func (v *view) look(oid uint32, depth int) bool {
	if depth > maxDepth {
		return true
	}
	if oid < firstUser {
		return leaks(v.snap.relations[oid])
	}
	return v.hidden[oid] || v.derives(oid, depth)
}

// derives says whether a relation's rows may be made of masked values of others.
func (v *view) derives(oid uint32, depth int) bool {
	switch v.snap.relations[oid].kind {
	case 'r', 'p', 'S':
		return false
	case 'v', 'm':
	default:
		return true
	}
	if d, known := v.derived[oid]; known {
		return d
	}
	v.derived[oid] = true // a view that is made of itself
	v.derived[oid] = v.snap.computed[oid] || slices.ContainsFunc(v.snap.uses[oid], func(used uint32) bool {
		return used != oid && v.taints(used, depth+1)
	})
	return v.derived[oid]
}

// leaks says whether a system relation shows values of tables, texts of statements, or secrets.
func leaks(r *relation) bool {
	if r.kind == 't' || r.schema == "pg_toast" {
		return true
	}
	switch r.name {
	case "pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs",
		"pg_stat_activity", "pg_stat_statements", "pg_largeobject", "pg_authid", "pg_shadow",
		"pg_user_mapping", "pg_user_mappings", "pg_subscription", "pg_prepared_statements", "pg_cursors",
		"pg_file_settings", "pg_hba_file_rules", "pg_stat_replication",
		"user_mapping_options", "_pg_user_mappings", "pg_db_role_setting":
		return true
	}
	return false
}

// clean says whether a text is understood and touches nothing that may show masked
// values: then what it computes can be shown.
func (v *view) clean(r *sqlread.Reading) bool {
	if r == nil || r.Unread != "" {
		return false
	}
	for i := range r.Statements {
		if !v.cleanStatement(&r.Statements[i]) {
			return false
		}
	}
	return true
}

func (v *view) cleanStatement(s *sqlread.Statement) bool {
	if s.Opaque {
		return false
	}
	for _, e := range s.Effects {
		if !harmless(e.Action) || e.Action == flow.Maintain && (len(s.Relations) == 0 || s.Node == "ReindexStmt" || s.Node == "RefreshMatViewStmt") {
			return false // indexes run code, of all tables, or of that which has the index; and so do event triggers
		}
	}
	for _, n := range s.Relations {
		if v.names[n.Name] {
			return false
		}
	}
	return !v.calls(s) && !v.stirs(s)
}
