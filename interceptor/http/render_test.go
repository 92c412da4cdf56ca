package http

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// rendered holds a conversation with one refusal in it and renders its tape.
func rendered(t *testing.T, level rules.RecordLevel) (*Render, string) {
	t.Helper()
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Level = level
	d := protocoltest.Start(NewEngine(s), denyPath("/b"), tape)
	d.Send(interceptor.Up, []byte(get+post+parts))
	d.Send(interceptor.Down, []byte(ok+cut))
	var r Render
	for _, e := range tape.Entries {
		if err := r.Add(e.Kind, e.Body); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return &r, b.String()
}

func TestTapeRendersAsTheConversation(t *testing.T) {
	r, text := rendered(t, rules.RecordFull)
	var starts []string
	for _, m := range r.Messages {
		starts = append(starts, m.Start)
		if !m.Complete || m.Omitted {
			t.Errorf("%s: complete %v, omitted %v", m.Start, m.Complete, m.Omitted)
		}
	}
	want := "GET /a?x=1 HTTP/1.1|POST /b HTTP/1.1|PUT /c HTTP/1.1|HTTP/1.1 200 OK|HTTP/1.1 403 Forbidden|HTTP/1.1 200 OK"
	if got := strings.Join(starts, "|"); got != want {
		t.Errorf("rendered %s, want %s", got, want)
	}
	if string(r.Messages[2].Body) != "helloabc" || string(r.Messages[5].Body) != "ok" || !strings.Contains(text, "not here") {
		t.Errorf("bodies are not there:\n%s", text)
	}
}

func TestLevelsLeaveOutBodies(t *testing.T) {
	r, _ := rendered(t, rules.RecordResults)
	if string(r.Messages[5].Body) != "ok" || !r.Messages[2].Omitted || len(r.Messages[2].Body) > 0 {
		t.Errorf("results: %+v", r.Messages)
	}
	r, _ = rendered(t, rules.RecordStatements)
	for _, m := range r.Messages {
		if len(m.Body) > 0 && m.Start != "HTTP/1.1 403 Forbidden" { // our own words are no secret
			t.Errorf("statements recorded the body of %s: %q", m.Start, m.Body)
		}
	}
	if len(r.Messages) != 6 || r.Messages[1].Bytes != 5 || !r.Messages[1].Omitted {
		t.Errorf("statements: %d messages", len(r.Messages))
	}
}

func TestTunnelRenders(t *testing.T) {
	tape := &protocoltest.Tape{}
	d := protocoltest.Start(NewEngine(protocoltest.Session(tape)), func(*flow.Request, error) interceptor.Answer {
		return interceptor.Answer{Verdict: flow.Allow, Rule: "ws"}
	}, tape)
	d.Send(interceptor.Up, []byte("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
	d.Send(interceptor.Down, []byte("HTTP/1.1 101 Switching Protocols\r\n\r\nfrom server\x1b[2J"))
	d.Send(interceptor.Up, []byte("from client"))
	var r Render
	for _, e := range tape.Entries {
		if err := r.Add(e.Kind, e.Body); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Messages) != 2 || string(r.Messages[0].Body) != "from client" || string(r.Messages[1].Body) != "from server\x1b[2J" {
		t.Errorf("%+v", r.Messages)
	}
	var b bytes.Buffer
	_, _ = r.WriteTo(&b)
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a recorded body drives the terminal")
	}
}

func TestPassingBodiesAllocatesNothing(t *testing.T) {
	for name, m := range map[string]*rules.Masks{"verbatim": {}, "json": masks(t, jsonMasks), "detectors": masks(t, detectMasks)} {
		s := protocoltest.Session(&protocoltest.Tape{Forget: true})
		s.Masks = m
		d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, nil)
		d.Send(interceptor.Up, []byte("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"))
		d.Send(interceptor.Down, []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n["))
		chunk := []byte(strings.Repeat(`{"id":12345,"name":"a\u00e9 name","tags":["a","b"]},`, 100))
		var out interceptor.Output
		for _, dir := range []interceptor.Direction{interceptor.Up, interceptor.Down} {
			n := testing.AllocsPerRun(50, func() {
				out.Reset()
				if n, err := d.Engine.Feed(dir, chunk, &out); n != len(chunk) || err != nil {
					t.Fatal(n, err)
				}
			})
			if n > 0 {
				t.Errorf("%s %s: %v allocations per chunk", name, dir, n)
			}
		}
	}
}

func TestRequestAllocatesFew(t *testing.T) {
	s := protocoltest.Session(&protocoltest.Tape{Forget: true})
	e := NewEngine(s)
	var out interceptor.Output
	req, resp := []byte(get), []byte(ok)
	n := testing.AllocsPerRun(100, func() {
		out.Reset()
		_, _ = e.Feed(interceptor.Up, req, &out)
		e.Resume(interceptor.Answer{Verdict: flow.Allow})
		out.Reset()
		if n, err := e.Feed(interceptor.Up, req, &out); n != len(req) || err != nil {
			t.Fatal(n, err)
		}
		out.Reset()
		if n, err := e.Feed(interceptor.Down, resp, &out); n != len(resp) || err != nil {
			t.Fatal(n, err)
		}
	})
	if n > 40 {
		t.Errorf("%v allocations per request", n)
	}
	t.Logf("%v allocations per request", n)
}

func TestRefusedUploadIsReadBeforeTheConnectionCloses(t *testing.T) {
	d, _ := talk(t, protocoltest.DenyAll)
	d.Send(interceptor.Up, []byte("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"+strings.Repeat("x", 1<<20)))
	if got := string(d.Written[interceptor.Down]); !strings.HasPrefix(got, forb) || !strings.Contains(got, "Connection: close") || d.Ended {
		t.Fatalf("client saw %q, ended %v", got, d.Ended)
	}
	d.EOF(interceptor.Up)
	if !d.Ended || len(d.Written[interceptor.Up]) > 0 {
		t.Errorf("ended %v, %d bytes went up", d.Ended, len(d.Written[interceptor.Up]))
	}
	d, _ = talk(t, protocoltest.DenyAll)
	d.Send(interceptor.Up, []byte("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n"))
	for range 18 {
		d.Send(interceptor.Up, make([]byte, 1<<20))
	}
	if !d.Ended {
		t.Error("an upload without end is read without end")
	}
}

func TestServerThatLeavesDuringAHoldIsSaid(t *testing.T) {
	e := NewEngine(protocoltest.Session(&protocoltest.Tape{}))
	var out interceptor.Output
	_, _ = e.Feed(interceptor.Up, []byte(get), &out)
	if out.Question == nil {
		t.Fatal("nothing was asked")
	}
	out.Reset()
	if err := e.EOF(interceptor.Down, &out); err != nil || !out.End || len(out.Parts()) == 0 || !bytes.HasPrefix(out.Parts()[0], []byte("HTTP/1.1 503")) {
		t.Errorf("client was told %q, end %v, %v", out.Parts(), out.End, err)
	}
	e.Resume(interceptor.Answer{Verdict: flow.Allow})
	out.Reset()
	if _, err := e.Feed(interceptor.Up, []byte(get), &out); err != nil || out.Size() > 0 {
		t.Errorf("%d bytes went to a server that is gone, %v", out.Size(), err)
	}
}

func TestTLSIsNamed(t *testing.T) {
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte("\x16\x03\x01\x02"))
	if got := string(d.Written[interceptor.Down]); !strings.Contains(got, "TLS") || !d.Ended {
		t.Errorf("client saw %q", got)
	}
}
