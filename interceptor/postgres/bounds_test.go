package postgres

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// Thirty bytes of a Bind run a statement of 250 KB: neither memory nor the tape may grow by that.
func TestPortalsOfALongStatementAreBounded(t *testing.T) {
	const binds = 40
	w := watch(t, "full", "")
	a := attack(t, w, "")
	long := "execute x /*" + strings.Repeat("a", 250_000) + "*/"
	a.does("prepare x as select 1", "begin")
	a.send(parse("s", long), &pgproto3.Sync{})
	a.until(1)
	before := heap()
	for i := range binds {
		a.send(bind(fmt.Sprint("p", i), "s"), &pgproto3.Sync{})
		if said := a.until(1); said != "" {
			if i < 10 || !strings.Contains(said, "08P01") {
				t.Fatal(i, "said", said)
			}
			break // the bound ends it
		}
	}
	if grown := heap() - before; grown > 6<<20 {
		t.Errorf("%d bytes more", grown)
	}
	if n := len(w.tapes.everything(interceptor.TapeVerdict)); n > 1<<20 {
		t.Errorf("%d bytes of decisions", n)
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestClosedPortalsKeepNothing(t *testing.T) {
	e := &engine{}
	s := &statement{j: &judged{text: strings.Repeat("x", 1000)}}
	for i := range 10 {
		e.setPortal(fmt.Append(nil, i%3), portal{stmt: s, j: &judged{text: s.j.text}})
	}
	if e.held != 3*(portalSize+2000) {
		t.Error(e.held)
	}
	e.start([]byte("1"), s.j)
	e.dropPortal("2")
	if e.held != 2*portalSize+3000 {
		t.Error(e.held)
	}
	clear(e.portals)
	if len(e.portals) != 0 {
		t.Error(e.held)
	}
}

// Of a text made of names, what was read in it is ten times as long.
func TestWhatWasReadInStatementsIsBounded(t *testing.T) {
	var from strings.Builder
	for i := range 1990 {
		fmt.Fprintf(&from, ",plain a%d", i)
	}
	text := func(i int) string { return fmt.Sprintf("select %d from plain%s", i, from.String()) }
	r, err := sqlread.Local{}.Read(t.Context(), text(1))
	if err != nil || r.Size() < 4*len(text(1)) {
		t.Fatal(err, r.Size(), len(text(1)))
	}
	e := &engine{}
	for i := range 400 {
		e.name(fmt.Append(nil, i), &statement{j: &judged{text: text(i), reading: r}, parsed: true})
	}
	kept := 0
	for _, s := range e.statements {
		if s.j.reading != nil {
			kept++
		}
	}
	if kept*(r.Size()+len(text(1))) > maxStatementBytes || kept < 10 || e.bytes > maxStatementBytes {
		t.Error(kept, "kept,", e.bytes, "bytes")
	}
	for name := range e.statements {
		e.unname(name)
	}
	if e.bytes != 0 {
		t.Error(e.bytes, "bytes after all were given up")
	}
	var p prepared
	big, _ := sqlread.Local{}.Read(t.Context(), "prepare q as "+text(1))
	small, _ := sqlread.Local{}.Read(t.Context(), "prepare r as select 1")
	p.note(big, nil)
	if p.note(small, nil); p.find("q") != nil || p.find("r") == nil {
		t.Error("what PREPARE made is not remembered as it should")
	}
}
