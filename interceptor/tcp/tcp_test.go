package tcp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

func suite() protocoltest.Case {
	return protocoltest.Case{
		Engine: func(s *interceptor.Session) interceptor.Engine { return NewEngine(s) },
		Conversations: []protocoltest.Conversation{
			{
				Name: "client first", Questions: 1, Up: []byte("hello"), Down: []byte("world"), Loop: true,
				Steps: []protocoltest.Step{protocoltest.Up("hello"), protocoltest.Down("world")},
			},
			{
				Name: "server first", Questions: 1, Up: []byte("hi"), Down: []byte("220 ready"),
				Steps: []protocoltest.Step{protocoltest.Down("220 ready"), protocoltest.Up("hi"), protocoltest.UpEOF(), protocoltest.DownEOF()},
			},
			{
				Name: "a megabyte", Questions: 1,
				Steps: []protocoltest.Step{protocoltest.Up(strings.Repeat("x", 1<<20)), protocoltest.UpEOF(), protocoltest.Down("ok")},
			},
		},
	}
}

func TestConformance(t *testing.T) { protocoltest.Run(t, suite()) }

func FuzzEngine(f *testing.F) { protocoltest.Fuzz(f, suite()) }

func TestSilentPeersAreAskedAbout(t *testing.T) {
	tape := &protocoltest.Tape{}
	d := protocoltest.Start(NewEngine(protocoltest.Session(tape)), protocoltest.DenyAll, tape)
	if len(d.Requests) != 1 || d.Requests[0].Kind != flow.KindConnect || d.Requests[0].Text != "connect" {
		t.Fatalf("asked about %v", d.Requests)
	}
	if !d.Ended || d.Err != nil {
		t.Fatalf("denied and not over: %v", d.Err)
	}
	if got := tape.Stream(interceptor.TapeVerdict); !bytes.Contains(got, []byte(`"verdict":"deny"`)) {
		t.Errorf("tape has no denial: %s", got)
	}
}

func TestFirstBytesUpAreDurable(t *testing.T) {
	tape := &protocoltest.Tape{}
	d := protocoltest.Start(NewEngine(protocoltest.Session(tape)), protocoltest.AllowAll, tape)
	d.Send(interceptor.Down, []byte("banner"))
	if tape.Syncs != 0 {
		t.Error("the server's banner waited for the disk")
	}
	d.Send(interceptor.Up, []byte("a"))
	d.Send(interceptor.Up, []byte("b"))
	if tape.Syncs != 1 {
		t.Errorf("%d syncs, want 1", tape.Syncs)
	}
}

func TestLevelsLeaveOutBytesAndCountThem(t *testing.T) {
	for level, want := range map[rules.RecordLevel][2]string{
		rules.RecordFull: {"ping", "pong"}, rules.RecordResults: {"", "pong"}, rules.RecordStatements: {"", ""},
	} {
		tape := &protocoltest.Tape{}
		s := protocoltest.Session(tape)
		s.Level = level
		d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
		d.Send(interceptor.Up, []byte("ping"))
		d.Send(interceptor.Down, []byte("pong"))
		d.EOF(interceptor.Up)
		d.EOF(interceptor.Down)
		up, down := string(tape.Stream(interceptor.TapeUp)), string(tape.Stream(interceptor.TapeDown))
		if up != want[0] || down != want[1] {
			t.Errorf("level %d recorded %q and %q, want %q", level, up, down, want)
		}
		missing := strings.Count(string(tape.Stream(interceptor.TapeOmitted)), `"bytes":4`)
		if missing != map[rules.RecordLevel]int{rules.RecordFull: 0, rules.RecordResults: 1, rules.RecordStatements: 2}[level] {
			t.Errorf("level %d counts %d streams left out", level, missing)
		}
	}
}

func TestPassingAllocatesNothing(t *testing.T) {
	s := protocoltest.Session(&protocoltest.Tape{Forget: true})
	e := NewEngine(s)
	var out interceptor.Output
	_, _ = e.Feed(interceptor.Up, nil, &out)
	e.Resume(interceptor.Answer{Verdict: flow.Allow})
	in := make([]byte, 16<<10)
	n := testing.AllocsPerRun(100, func() {
		out.Reset()
		if n, err := e.Feed(interceptor.Down, in, &out); n != len(in) || err != nil {
			t.Fatal(n, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per Feed", n)
	}
}
