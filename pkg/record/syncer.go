package record

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// flushable is a file that can be put on disk.
type flushable interface {
	flush() error
}

// disk knows how a group of files is best put on disk.
type disk struct {
	log    *hostLog
	commit *commitFile
}

// waiters wait for a file to be on disk; nil: nobody does.
type waiters []chan error

// flush puts the files on disk: the tapes with little to say through the commit file,
// the others each by itself, several at a time.
func (d disk) flush(group map[flushable]waiters) {
	lane := newLanes()
	var small []*Tape
	var bytes int64
	batch := func() {
		tapes := small
		small, bytes = nil, 0
		if len(tapes) > 0 {
			lane.run(func() error { d.commitTapes(tapes, group); return nil })
		}
	}
	for what, waiting := range group {
		t, isTape := what.(*Tape)
		n, few := int64(0), false
		if isTape {
			n, few = t.small()
		}
		if !few {
			lane.run(func() error { return waiting.tell(what.flush()) })
			continue
		}
		small, bytes = append(small, t), bytes+n
		if bytes > maxBatch {
			batch()
		}
	}
	batch()
	_ = lane.wait() // each was told
}

// commitTapes makes tapes durable, and the starts of their sessions with them.
func (d disk) commitTapes(tapes []*Tape, group map[flushable]waiters) {
	var err error
	if slices.ContainsFunc(tapes, func(t *Tape) bool { return !d.log.onDisk(t.begun) }) {
		err = d.log.flush()
	}
	errs := make([]error, len(tapes))
	if err == nil {
		errs = d.commit.commit(tapes)
	}
	for i, t := range tapes {
		_ = group[t].tell(errors.Join(err, errs[i]))
	}
}

func (w waiters) tell(err error) error {
	for _, a := range w {
		a <- err
	}
	return err
}

// lanes runs functions, eight at a time: the file system syncs several files together.
type lanes struct {
	group sync.WaitGroup
	room  chan struct{}
	errs  chan error // the first
}

func newLanes() *lanes { return &lanes{room: make(chan struct{}, 8), errs: make(chan error, 1)} }

func (l *lanes) run(f func() error) {
	l.room <- struct{}{}
	l.group.Go(func() {
		if err := f(); err != nil {
			select {
			case l.errs <- err:
			default:
			}
		}
		<-l.room
	})
}

// wait returns when all are done, with an error if one failed.
func (l *lanes) wait() error {
	l.group.Wait()
	select {
	case err := <-l.errs:
		return err
	default:
		return nil
	}
}

// syncer puts files on disk for those who wait, in groups: what comes while a
// group is being flushed makes up the next one. newSyncer starts its goroutine; stop ends it.
type syncer struct {
	disk     disk
	requests chan request
	over     chan struct{}
	done     sync.WaitGroup
}

type request struct {
	what   flushable
	answer chan error // has room for one
}

func newSyncer(d disk) *syncer {
	s := &syncer{disk: d, requests: make(chan request, 256), over: make(chan struct{})}
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
	group := map[flushable]waiters{}
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
		s.disk.flush(group)
		clear(group)
	}
}

// flusher puts on disk what nobody waits for, soon after it was written, and
// makes a checkpoint now and then. newFlusher starts its goroutine; stop ends it.
type flusher struct {
	every, checkpointEvery time.Duration
	disk                   disk
	kick                   chan struct{}
	over                   chan struct{}
	done                   sync.WaitGroup

	// mu guards tapes: those written to since the last flush.
	mu    sync.Mutex
	tapes []*Tape
}

func newFlusher(c Config, d disk) *flusher {
	f := &flusher{every: c.FlushEvery, checkpointEvery: c.CheckpointEvery, disk: d, kick: make(chan struct{}, 1), over: make(chan struct{})}
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
			// A log that cannot be written says so to the next event.
			_ = errors.Join(f.disk.log.checkpointIfNew(), f.disk.log.flush())
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
	_ = f.disk.log.flush()
	group := map[flushable]waiters{}
	for _, t := range tapes {
		t.noted.Store(false)
		group[t] = nil
	}
	f.disk.flush(group)
}
