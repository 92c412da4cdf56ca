package interceptor

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// crumbs releases every byte with one of its own behind it, so that no two parts touch.
type crumbs struct{ blobs }

func (crumbs) Feed(_ Direction, in []byte, out *Output) (int, error) {
	for i := range in {
		out.Pass(in[i : i+1])
		out.Put([]byte{'.'})
	}
	return len(in), nil
}

func TestMorePartsThanOneWriteTakes(t *testing.T) {
	onBoth(t, func(t *testing.T, d driver) {
		client, server, done := between(t, d, crumbs{}, nil)
		sent := bytes.Repeat([]byte("x"), 100<<10)
		go func() {
			_, _ = client.Write(sent)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(server)
		if err != nil || len(got) != 2*len(sent) {
			t.Fatalf("%d bytes arrived (%v), want %d", len(got), err, 2*len(sent))
		}
		server.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// bombs panics in its questions.
type bombs struct{ blobs }

func (bombs) Feed(dir Direction, in []byte, out *Output) (int, error) {
	if dir == Up && len(in) > 0 {
		out.Question = func(context.Context) (*flow.Request, error) { panic("a question") }
	}
	return 0, nil
}

func TestPanicInQuestionEndsItsConnectionOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, d driver) {
		client, _, done := between(t, d, bombs{}, nil)
		say(t, client, "x\n")
		if err := <-done; err == nil {
			t.Fatal("the panic was lost")
		}
	})
}

func abort(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestResetOfStalledClientEndsLooped(t *testing.T) {
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client, server, done := between(t, l.drive, &lines{}, nil)
	say(t, client, "wait\nmore\n")
	if _, err := io.ReadFull(server, make([]byte, len("wait\n"))); err != nil {
		t.Fatal(err)
	}
	abort(t, client) // Up waits for the server, which says nothing
	if err := <-done; err == nil {
		t.Fatal("a reset was taken for an end")
	}
}

// TestLostServerIsNotWatched has a server reset while its words wait for a client that does not read.
func TestLostServerIsNotWatched(t *testing.T) {
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client, server, done := between(t, l.drive, blobs{}, nil)
	flood(t, server)
	abort(t, server)
	for muted := false; !muted; {
		answer := make(chan bool)
		l.post(func() {
			found := false
			for _, e := range l.ends {
				found = found || e.muted
			}
			answer <- found
		})
		muted = <-answer
	}
	_, _ = io.Copy(io.Discard, client)
	if err := <-done; err == nil {
		t.Fatal("a reset was taken for an end")
	}
}

// flood writes until nobody takes any more.
func flood(t *testing.T, c net.Conn) {
	t.Helper()
	block := make([]byte, 1<<20)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}
