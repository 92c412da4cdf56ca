package interceptor

import (
	"io"
	"sync/atomic"
	"testing"
	"time"
)

// parting passes everything, and is done when its client has said all.
type parting struct {
	blobs
	passed *atomic.Int64 // bytes to the client
}

func (e parting) Feed(dir Direction, in []byte, out *Output) (int, error) {
	if dir == Down {
		e.passed.Add(int64(len(in)))
	}
	return e.blobs.Feed(dir, in, out)
}

func (e parting) EOF(dir Direction, out *Output) error {
	out.End = dir == Up
	return nil
}

// A client that closes its half and reads slowly still gets what was released for it.
func TestEndOfOneDirectionWaitsForTheOther(t *testing.T) {
	onBoth(t, func(t *testing.T, drive driver) {
		e := parting{passed: &atomic.Int64{}}
		client, server, over := between(t, drive, e, nil)
		flood(t, server)
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lastWords + 300*time.Millisecond)
		n, err := io.Copy(io.Discard, client)
		if want := e.passed.Load(); n != want {
			t.Errorf("the client got %d of %d bytes (%v)", n, want, err)
		}
		if err := <-over; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}
