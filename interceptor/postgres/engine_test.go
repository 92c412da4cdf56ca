package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/chaperone-dev/chaperone/rules"
)

// fresh makes an engine whose session is still to be opened.
func fresh(tape interceptor.Tape) *engine { return freshIn(protocoltest.Session(tape)) }

func freshIn(s *interceptor.Session) *engine {
	p := New(Options{Reader: sqlread.Local{}}).(*protocol)
	packet := append([]byte{0, 0, 0, 0, 0, 3, 0, 0}, "user\x00bot\x00\x00"...)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	start, err := wire.ParseStartup(packet)
	if err != nil {
		panic(err)
	}
	e := p.engine(&interceptor.Conn{Session: s}, start, false)
	e.generation = func() uint64 { return 1 }
	return e
}

// message makes one message.
func message(typ byte, body string) string {
	m, at := wire.Begin(nil, typ)
	return string(wire.End(append(m, body...), at))
}

var (
	loginDown  = message('R', "\x00\x00\x00\x00") + message('S', "client_encoding\x00UTF8\x00") + message('K', "\x00\x00\x00\x01key!") + message('Z', "I")
	prepareUp  = message('P', "s\x00select word from plain where id = $1\x00\x00\x00") + message('S', "")
	prepareOK  = message('1', "") + message('Z', "I")
	bindUp     = message('B', "\x00s\x00\x00\x00\x00\x01\x00\x00\x00\x017\x00\x00") + message('D', "P\x00") + message('E', "\x00\x00\x00\x00\x00") + message('S', "")
	oneRow     = message('T', "\x00\x01word\x00\x00\x00\x40\x00\x00\x02\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
	row        = message('D', "\x00\x01\x00\x00\x00\x04word")
	bindDown   = message('2', "") + oneRow + row + message('C', "SELECT 1\x00") + message('Z', "I")
	refusedUp  = message('Q', "truncate plain\x00")
	failedDown = message('E', "SERROR\x00VERROR\x00C42601\x00Msyntax error\x00\x00") + message('Z', "I")
)

func allow(r *flow.Request, err error) interceptor.Answer {
	a := interceptor.Answer{Verdict: flow.Allow, Reusable: true, Generation: 1}
	if err != nil || r.Text == "truncate plain" {
		return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no", Generation: 1}
	}
	a.Durable = r.Changes
	return a
}

func TestForwardingAllocatesNothing(t *testing.T) {
	tape := &protocoltest.Tape{Forget: true}
	e := fresh(tape)
	d := protocoltest.Start(e, allow, tape)
	d.Send(interceptor.Down, []byte(loginDown))
	d.Send(interceptor.Up, []byte(prepareUp))
	d.Send(interceptor.Down, []byte(prepareOK))
	if d.Err != nil {
		t.Fatal(d.Err)
	}
	up, down := []byte(bindUp), []byte(bindDown)
	var out interceptor.Output
	turn := func(dir interceptor.Direction, b []byte) {
		out.Reset()
		n, err := e.Feed(dir, b, &out)
		if err != nil || n != len(b) || len(out.Parts()) != 1 || out.Size() != len(b) {
			t.Fatal(n, err, len(out.Parts()), out.Size())
		}
	}
	if allocs := testing.AllocsPerRun(1000, func() {
		turn(interceptor.Up, up)
		turn(interceptor.Down, down)
	}); allocs != 0 {
		t.Errorf("%v allocations per statement", allocs)
	}
}

func BenchmarkPreparedStatement(b *testing.B) {
	tape := &protocoltest.Tape{Forget: true}
	e := fresh(tape)
	d := protocoltest.Start(e, allow, tape)
	d.Send(interceptor.Down, []byte(loginDown))
	d.Send(interceptor.Up, []byte(prepareUp))
	d.Send(interceptor.Down, []byte(prepareOK))
	up, down := []byte(bindUp), []byte(bindDown)
	var out interceptor.Output
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		_, _ = e.Feed(interceptor.Up, up, &out)
		out.Reset()
		_, _ = e.Feed(interceptor.Down, down, &out)
	}
}

// conversation is a session with a bit of everything. Turns alternate, so that any
// cut of each side's bytes is one that could happen.
var conversation = [][2]string{
	{"", loginDown},
	{prepareUp, prepareOK},
	{bindUp + bindUp, bindDown + bindDown},
	{refusedUp, failedDown},
	{message('P', "\x00truncate plain\x00\x00\x00") + message('B', "\x00\x00\x00\x00\x00\x00\x00\x00") + message('E', "\x00\x00\x00\x00\x00") + message('S', ""), failedDown},
	{message('Q', "copy plain from stdin\x00"), message('G', "\x00\x00\x00")},
	{message('d', "1\tx\n") + message('d', "2\ty\n") + message('c', ""), message('C', "COPY 2\x00") + message('Z', "I")},
	{message('Q', "copy plain to stdout\x00"), message('H', "\x00\x00\x00") + message('d', "1\tx\n") + message('c', "") + message('C', "COPY 1\x00") + message('Z', "I")},
	{message('Q', "select '"+strings.Repeat("x", 300<<10)+"'\x00"), oneRow + message('D', "\x00\x01\x00\x01\x00\x00"+strings.Repeat("y", 1<<16)) + message('C', "SELECT 1\x00") + message('Z', "I")},
	{message('B', "\x00nobody\x00\x00\x00\x00\x00\x00\x00") + message('S', ""), message('E', "SERROR\x00VERROR\x00C26000\x00Mnone\x00\x00") + message('Z', "I")},
	{message('X', ""), ""},
}

func play(t *testing.T, cut func(string) []string) (up, down, tapeUp, tapeDown []byte) {
	t.Helper()
	tape := &protocoltest.Tape{}
	d := protocoltest.Start(fresh(tape), func(r *flow.Request, err error) interceptor.Answer {
		a := allow(r, err)
		if err == nil && len(r.Text) > 1000 {
			a.Verdict = flow.Allow
		}
		return a
	}, tape)
	for i, turn := range conversation {
		for dir, bytes := range turn {
			for _, piece := range cut(bytes) {
				d.Send(interceptor.Direction(dir), []byte(piece))
			}
		}
		if d.Err != nil {
			t.Fatalf("turn %d: %v", i, d.Err)
		}
	}
	for _, f := range d.Faults() {
		t.Error(f)
	}
	return d.Written[0], d.Written[1], tape.Stream(interceptor.TapeUp), tape.Stream(interceptor.TapeDown)
}

// blur takes out what is random: names of refused statements and the cancel key.
func blur(b []byte) []byte {
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("chaperone_"))
		if i < 0 {
			break
		}
		copy(b[at+i:], "chaperone_"+strings.Repeat("0", 24))
		at += i + 10
	}
	if i := bytes.Index(b, []byte("K\x00\x00\x00\x0c\x00\x00\x00\x01")); i >= 0 {
		copy(b[i+9:], "0000")
	}
	return b
}

func TestTheCutOfTheBytesChangesNothing(t *testing.T) {
	whole := func(s string) []string { return []string{s} }
	wantUp, wantDown, wantTapeUp, wantTapeDown := play(t, whole)
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		up, down, tapeUp, tapeDown := play(t, func(s string) []string {
			var pieces []string
			for len(s) > 0 {
				n := 1 + r.IntN(min(len(s), 1+r.IntN(40)))
				if len(s) > 5000 && r.IntN(3) > 0 {
					n = min(len(s), 1+r.IntN(9000))
				}
				pieces = append(pieces, s[:n])
				s = s[n:]
			}
			return pieces
		})
		for what, pair := range map[string][2][]byte{"up": {blur(wantUp), blur(up)}, "down": {blur(wantDown), blur(down)}, "tape up": {wantTapeUp, tapeUp}, "tape down": {wantTapeDown, tapeDown}} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Fatalf("seed %d: %s differs: %d and %d bytes", seed, what, len(pair[0]), len(pair[1]))
			}
		}
	}
}

// someMasks and someCatalog are a table 64, public.plain, whose first two columns are word and
// secret; the second is masked.
var (
	someMasks = func() *rules.Masks {
		text, _, _ := strings.Cut(policyText, "people:")
		text = fmt.Sprintf(text, 5432, "full") + "masks:\n  - {name: m, target: db, columns: [plain.secret], detect: [email]}\n"
		p, err := rules.Parse([]rules.File{{Name: "p.yaml", Data: []byte(text)}}, rules.Options{})
		if err != nil {
			panic(err)
		}
		return p.Masks("bot", "db")
	}()
	someCatalog = &snapshot{
		taken:     time.Now().Add(time.Hour),
		relations: map[uint32]*relation{20000: {"public", "plain", 'r'}},
		columns:   map[attribute]attributeIs{{20000, 1}: {"word", oidText, -1}, {20000, 2}: {"secret", oidText, -1}},
	}
)

func TestMaskedRowsWhateverTheCut(t *testing.T) {
	shape := message('T', "\x00\x02word\x00\x00\x00\x4e\x20\x00\x01\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00secret\x00\x00\x00\x4e\x20\x00\x02\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
	row := message('D', "\x00\x02\x00\x00\x00\x09me@a.com \x00\x00\x00\x06secret")
	up := message('P', "\x00select word, secret from plain\x00\x00\x00") + message('B', "\x00\x00\x00\x00\x00\x00\x00\x00") + message('E', "\x00\x00\x00\x00\x00") + message('S', "")
	down := message('1', "") + message('2', "") + shape + strings.Repeat(row, 50) + message('C', "SELECT 50\x00") + message('Z', "I")
	want := message('1', "") + message('2', "") + strings.Repeat(message('D', "\x00\x02\x00\x00\x00\x09[masked] \x00\x00\x00\x08[masked]"), 50) + message('C', "SELECT 50\x00") + message('Z', "I")
	for seed := range uint64(50) {
		tape := &protocoltest.Tape{}
		e := fresh(tape)
		e.s.Masks = someMasks
		d := protocoltest.Start(e, allow, tape)
		d.Send(interceptor.Down, []byte(loginDown))
		opened := len(d.Written[interceptor.Down])
		e.catalog = e.p.catalogs.of(database{e.s.Flow.Destination, e.database})
		e.catalog.publish(someCatalog)
		r := rand.New(rand.NewPCG(seed, 3))
		for dir, s := range []string{up, down} {
			for len(s) > 0 {
				n := 1 + r.IntN(min(len(s), 1+r.IntN(200)))
				d.Send(interceptor.Direction(dir), []byte(s[:n]))
				s = s[n:]
			}
		}
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		if got := string(d.Written[interceptor.Down][opened:]); got != want {
			t.Fatalf("seed %d: got %d bytes, want %d: %q", seed, len(got), len(want), got)
		}
		if string(tape.Stream(interceptor.TapeDown)) != want {
			t.Fatal("the tape is not what the client saw")
		}
	}
}

func FuzzEngine(f *testing.F) {
	for _, turn := range conversation {
		f.Add([]byte(turn[0]), []byte(turn[1]), uint64(1), false)
		f.Add([]byte(turn[0]), []byte(turn[1]), uint64(2), true)
	}
	f.Fuzz(func(t *testing.T, up, down []byte, seed uint64, masks bool) {
		tape := &protocoltest.Tape{}
		e := fresh(tape)
		if masks {
			e.s.Masks = someMasks
		}
		d := protocoltest.Start(e, allow, tape)
		d.Send(interceptor.Down, []byte(loginDown))
		if masks {
			e.catalog = e.p.catalogs.of(database{e.s.Flow.Destination, e.database})
			e.catalog.publish(someCatalog)
		}
		r := rand.New(rand.NewPCG(seed, 2))
		for len(up)+len(down) > 0 && !d.Ended {
			n := min(len(up), r.IntN(64))
			d.Send(interceptor.Up, up[:n])
			up = up[n:]
			n = min(len(down), r.IntN(64))
			d.Send(interceptor.Down, down[:n])
			down = down[n:]
		}
		for _, fault := range d.Faults() {
			t.Error(fault)
		}
	})
}
