package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// item is one thing a client does: it sends a message, unless another of these is set.
type item struct {
	m       pgproto3.FrontendMessage
	waits   bool // until all is answered, or nothing more comes
	copying bool // only where the server has just asked for copy data, as drivers do
	cancels bool
	turn    int // what a driver does, it does as a whole
}

func (i item) String() string {
	switch {
	case i.waits:
		return "wait"
	case i.cancels:
		return "cancel"
	}
	said := strings.TrimPrefix(fmt.Sprintf("%T%+v", i.m, i.m), "*pgproto3.")
	if i.copying {
		return said + " if asked"
	}
	return said
}

// talk is a conversation as its client has it. How its bytes are cut follows from seed.
type talk struct {
	seed     uint64
	options  string
	items    []item
	patience time.Duration // of its waits
}

func (k talk) String() string {
	var b strings.Builder
	for _, i := range k.items {
		fmt.Fprintln(&b, "   ", i)
	}
	return b.String()
}

// heard is one message of the server's.
type heard struct {
	typ  byte
	body []byte
}

// talker plays a talk against one server, and keeps all it hears.
type talker struct {
	address string
	conn    net.Conn
	key     []byte
	asked   int    // ReadyForQuery that should come
	query   bool   // the last one is a Query's
	follows []bool // what another one chose where it depends on the server's pace
	chose   []bool // to send copy data
	copies  bool   // the last choice
	chosen  bool   // since the last wait

	mu    sync.Mutex
	raw   []byte
	heard []heard
	ready int
	over  bool
	hangs bool // nobody said anything more, and it was not over
}

// play plays k in a database and gives what was heard.
func (k talk) play(t *testing.T, port int, database string, follows []bool) *talker {
	t.Helper()
	p := &talker{address: fmt.Sprintf("127.0.0.1:%d", port), asked: 1, follows: follows}
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.conn = conn
	defer conn.Close()
	done := make(chan struct{})
	go func() { defer close(done); p.listen() }()
	cuts := rand.New(rand.NewPCG(k.seed, 99))
	p.write(cuts, encoded(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{
		"user": "postgres", "database": database, "options": k.options}}))
	p.wait(5 * time.Second)
	var pending []byte
	for _, i := range k.items {
		if (i.waits || i.cancels) && len(pending) > 0 {
			p.write(cuts, pending)
			pending = nil
		}
		switch {
		case i.waits:
			p.wait(k.patience)
			p.chosen = false
		case i.cancels:
			p.cancel(t)
		case i.copying && !p.choose():
		default:
			pending = append(pending, encoded(i.m)...)
			p.note(i.m)
		}
	}
	p.write(cuts, append(pending, encoded(&pgproto3.Terminate{})...))
	_ = conn.SetReadDeadline(time.Now().Add(8 * time.Second))
	<-done
	return p
}

// note counts the ReadyForQuery a message asks for.
func (p *talker) note(m pgproto3.FrontendMessage) {
	switch m.(type) {
	case *pgproto3.Query:
		p.asked, p.query = p.asked+1, true
	case *pgproto3.Sync, *pgproto3.FunctionCall:
		p.asked, p.query = p.asked+1, false
	}
}

// choose says whether the server waited for copy data, when that was awaited.
func (p *talker) choose() bool {
	if p.chosen {
		return p.copies
	}
	if p.copies, p.chosen = p.last() == 'G', true; len(p.chose) < len(p.follows) {
		p.copies = p.follows[len(p.chose)]
	}
	p.chose = append(p.chose, p.copies)
	return p.copies
}

func encoded(m pgproto3.FrontendMessage) []byte {
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// write sends bytes in pieces.
func (p *talker) write(cuts *rand.Rand, b []byte) {
	whole := cuts.IntN(2) == 0
	for len(b) > 0 {
		n := len(b)
		if !whole {
			n = 1 + cuts.IntN(min(len(b), 60))
		}
		if _, err := p.conn.Write(b[:n]); err != nil {
			return // what was said before is heard all the same
		}
		if b = b[n:]; cuts.IntN(6) == 0 {
			time.Sleep(time.Duration(cuts.IntN(500)) * time.Microsecond)
		}
	}
}

func (p *talker) listen() {
	var b []byte
	piece := make([]byte, 64<<10)
	for {
		n, err := p.conn.Read(piece)
		b = append(b, piece[:n]...)
		p.mu.Lock()
		p.raw = append(p.raw, piece[:n]...)
		for len(b) >= 5 && len(b) > int(binary.BigEndian.Uint32(b[1:])) {
			size := 1 + int(binary.BigEndian.Uint32(b[1:]))
			p.heard = append(p.heard, heard{b[0], bytes.Clone(b[5:size])})
			if b[0] == 'Z' {
				p.ready++
			}
			if b[0] == 'K' {
				p.key = bytes.Clone(b[5:size])
			}
			b = b[size:]
		}
		p.over = err != nil
		p.hangs = errors.Is(err, os.ErrDeadlineExceeded)
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// wait waits until all is answered, or the server waits for copy data.
func (p *talker) wait(patience time.Duration) {
	quiet, heard := 0, 0
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(200 * time.Microsecond) {
		p.mu.Lock()
		settled, copying, now := p.over || p.ready >= p.asked, p.ready > 0 && p.heard[len(p.heard)-1].typ == 'G', len(p.heard)
		ready := p.ready
		p.mu.Unlock()
		if settled {
			return
		}
		if quiet++; now != heard || !copying {
			quiet, heard = 0, now
		}
		if quiet < 10 { // a copy may fail as it begins
			continue
		}
		if p.asked = ready; p.query {
			p.asked++
		}
		return
	}
}

func (p *talker) last() byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.heard) == 0 {
		return 0
	}
	return p.heard[len(p.heard)-1].typ
}

// cancel cancels what runs until it has ended: it may not have begun yet.
func (p *talker) cancel(t *testing.T) {
	for range 40 {
		time.Sleep(50 * time.Millisecond)
		p.mu.Lock()
		key, settled := p.key, p.over || p.ready >= p.asked
		p.mu.Unlock()
		if settled {
			return
		}
		conn, err := net.Dial("tcp", p.address)
		if err != nil || len(key) < 8 {
			t.Fatal("cannot cancel:", err)
		}
		packet := binary.BigEndian.AppendUint32(nil, uint32(8+len(key)))
		packet = append(binary.BigEndian.AppendUint32(packet, 80877102), key...)
		_, _ = conn.Write(packet)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
}

// firstOfUsers is the least OID of what is made after initdb (FirstNormalObjectId).
const firstOfUsers = 16384

// said is what was heard, one line a message, without what differs between two sessions that say the same.
func (p *talker) said() (lines []string) {
	for _, h := range p.heard {
		if line := h.String(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func (h heard) String() string {
	switch h.typ {
	case 'K':
		return ""
	case 'T':
		var m pgproto3.RowDescription
		if m.Decode(h.body) != nil {
			break
		}
		line := "T"
		for _, f := range m.Fields {
			line += fmt.Sprintf(" %s/%d.%d:%d,%d,%d,%d", f.Name, ours(f.TableOID), f.TableAttributeNumber, ours(f.DataTypeOID), f.DataTypeSize, f.TypeModifier, f.Format)
		}
		return line
	case 'A':
		return fmt.Sprintf("A %q", h.body[4:])
	case 'E', 'N':
		var m pgproto3.ErrorResponse
		if m.Decode(h.body) != nil {
			break
		}
		return fmt.Sprintf("%c %s %s %q %q %q @%d %q %q %q %q", h.typ, m.Severity, m.Code, m.Message, m.Detail, m.Hint, m.Position, m.Where, m.InternalQuery, m.TableName, m.ConstraintName)
	}
	return fmt.Sprintf("%c %q", h.typ, h.body)
}

// ours makes all OIDs of users' things the same one.
func ours(oid uint32) uint32 { return min(oid, firstOfUsers) }

// shrink leaves out of a talk what it does not need to be still wrong; only whole turns, if driven.
func (k talk) shrink(driven bool, wrong func(talk) bool) talk {
	if !driven {
		k.items = slices.Clone(k.items)
		for i := range k.items {
			k.items[i].turn = i + 1
		}
	}
	for size := (k.items[len(k.items)-1].turn + 1) / 2; size > 0; size /= 2 {
		for from, end := 0, k.items[len(k.items)-1].turn; from <= end; from += size {
			less := k
			less.items = slices.DeleteFunc(slices.Clone(k.items), func(i item) bool { return i.turn >= from && i.turn < from+size })
			if n := len(less.items); n > 0 && n < len(k.items) && wrong(less) {
				k = less
			}
		}
	}
	return k
}
