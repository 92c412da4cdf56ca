package record

import (
	"sync"
	"time"
)

// flushable is a file that can be put on disk.
type flushable interface {
	flush() error
}

// syncer puts files on disk for those who wait, in groups: what comes while a
// group is being flushed makes up the next one. Start it with run; stop ends it.
type syncer struct {
	requests chan request
	over     chan struct{}
	done     sync.WaitGroup
}

type request struct {
	what   flushable
	answer chan error // has room for one
}

func newSyncer() *syncer {
	s := &syncer{requests: make(chan request, 256), over: make(chan struct{})}
	s.done.Go(s.run)
	return s
}

// sync returns when everything written to what before the call is on disk.
func (s *syncer) sync(what flushable) error {
	r := request{what: what, answer: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-s.over:
		return ErrEnded
	}
	select {
	case err := <-r.answer:
		return err
	case <-s.over:
		return ErrEnded
	}
}

func (s *syncer) stop() {
	close(s.over)
	s.done.Wait()
}

func (s *syncer) run() {
	group := map[flushable][]chan error{}
	for {
		select {
		case r := <-s.requests:
			group[r.what] = append(group[r.what], r.answer)
		case <-s.over:
			return
		}
		for more := true; more; {
			select {
			case r := <-s.requests:
				group[r.what] = append(group[r.what], r.answer)
			default:
				more = false
			}
		}
		flushGroup(group)
		clear(group)
	}
}

// lanes is how many files of a group are flushed at a time: the file system
// commits them together.
const lanes = 8

func flushGroup(group map[flushable][]chan error) {
	var lane sync.WaitGroup
	room := make(chan struct{}, lanes)
	for what, answers := range group {
		if len(group) == 1 {
			tell(answers, what.flush())
			return
		}
		room <- struct{}{}
		lane.Go(func() {
			tell(answers, what.flush())
			<-room
		})
	}
	lane.Wait()
}

func tell(answers []chan error, err error) {
	for _, a := range answers {
		a <- err
	}
}

// flusher puts on disk what nobody waits for, soon after it was written, and
// makes a checkpoint now and then. Start it with run; stop ends it.
type flusher struct {
	every, checkpointEvery time.Duration
	log                    *hostLog
	kick                   chan struct{}
	over                   chan struct{}
	done                   sync.WaitGroup

	// mu guards tapes: those written to since the last flush.
	mu    sync.Mutex
	tapes []*Tape
}

func newFlusher(c Config, log *hostLog) *flusher {
	f := &flusher{every: c.FlushEvery, checkpointEvery: c.CheckpointEvery, log: log, kick: make(chan struct{}, 1), over: make(chan struct{})}
	f.done.Go(f.run)
	return f
}

// note remembers that t was written to.
func (f *flusher) note(t *Tape) {
	f.mu.Lock()
	f.tapes = append(f.tapes, t)
	f.mu.Unlock()
	f.wake()
}

func (f *flusher) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *flusher) stop() {
	close(f.over)
	f.done.Wait()
}

func (f *flusher) run() {
	checkpoint := time.NewTicker(f.checkpointEvery)
	defer checkpoint.Stop()
	pause := f.every
	for {
		select {
		case <-f.kick:
		case <-checkpoint.C:
			_ = f.log.checkpointIfNew() // a log that cannot be written says so to the next event
			continue
		case <-f.over:
			return
		}
		select {
		case <-time.After(pause):
		case <-f.over:
			return
		}
		start := time.Now()
		f.round()
		pause = max(f.every, 3*time.Since(start))
	}
}

// round flushes the log first: the start of a session is on disk before its tape is.
// Errors stay with the log and the tapes, which refuse from then on.
func (f *flusher) round() {
	f.mu.Lock()
	tapes := f.tapes
	f.tapes = nil
	f.mu.Unlock()
	_ = f.log.flush()
	for _, t := range tapes {
		t.noted.Store(false)
		_ = t.flush()
	}
}
