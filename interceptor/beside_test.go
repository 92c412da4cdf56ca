package interceptor

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// A timer of a connection that is over may come after the loop is closed: its descriptor's number is another file's then.
func TestClosedLoopRingsAtNobodys(t *testing.T) {
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	number := l.event
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Skipf("descriptor %d is taken already (%v)", number, err)
	}
	if err := unix.Dup3(int(w.Fd()), number, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(number)
	l.post(func() {})
	_ = r.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := r.Read(make([]byte, 8)); n > 0 {
		t.Errorf("%d bytes were written to a file that has the number of the loop's", n)
	}
}

// slowDesk takes its time to write down that an ask was given up.
type slowDesk struct {
	asked   chan struct{}
	written *atomic.Bool
}

func (d slowDesk) Ask(context.Context, *flow.Flow, *flow.Request, rules.Decision) (Ask, error) {
	close(d.asked)
	return d, nil
}
func (d slowDesk) ID() string { return "r-1" }
func (d slowDesk) Wait(ctx context.Context) flow.AskState {
	<-ctx.Done()
	time.Sleep(200 * time.Millisecond)
	d.written.Store(true)
	return flow.AskState{State: "cancelled"}
}

// What is closed when the last connection is over, the desk and the record, is still written to by who judges.
func TestJudgeIsDoneWhenItsConnectionIsOver(t *testing.T) {
	onBoth(t, func(t *testing.T, drive driver) {
		desk := slowDesk{asked: make(chan struct{}), written: &atomic.Bool{}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		client, server, over := between(t, func(_ context.Context, c *Conn, e Engine) error {
			err := drive(ctx, c, e)
			if !desk.written.Load() {
				t.Error("the connection was over before its ask was")
			}
			return err
		}, &lines{}, desk)
		say(t, client, "ask\n")
		<-desk.asked
		stop()
		client.Close()
		server.Close()
		<-over
	})
}
