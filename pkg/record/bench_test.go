package record

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 1 << 10, 4 << 10, 64 << 10} {
		b.Run(strconv.Itoa(size)+"B", func(b *testing.B) {
			r := openTest(b, b.TempDir())
			tape := begin(b, r, "s1")
			body := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				must(b, tape.Append(KindUp, body))
			}
		})
	}
}

// BenchmarkSync is one small entry appended and put on disk, by so many sessions at a time.
func BenchmarkSync(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			r := openTest(b, b.TempDir())
			tapes := make([]*Tape, clients)
			for i := range tapes {
				tapes[i] = begin(b, r, fmt.Sprintf("s%d", i))
			}
			body := make([]byte, 200)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var running sync.WaitGroup
			for _, tape := range tapes {
				running.Go(func() {
					for left.Add(-1) >= 0 {
						must(b, tape.Append(KindUp, body))
						must(b, tape.Sync())
					}
				})
			}
			running.Wait()
		})
	}
}

// BenchmarkAppendMany is 64 sessions appending at once, with the background flush.
func BenchmarkAppendMany(b *testing.B) {
	r := openTest(b, b.TempDir())
	var id atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		tape := begin(b, r, fmt.Sprintf("s%d", id.Add(1)))
		body := make([]byte, 200)
		for pb.Next() {
			must(b, tape.Append(KindUp, body))
		}
	})
}

func BenchmarkBegin(b *testing.B) {
	r := openTest(b, b.TempDir())
	f := testFlow("s")
	tapes := make([]*Tape, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		tape, err := r.Begin("s"+strconv.Itoa(i), f)
		must(b, err)
		tapes = append(tapes, tape)
		if len(tapes) == 200 {
			b.StopTimer()
			for _, t := range tapes {
				_, err := t.End("closed")
				must(b, err)
			}
			tapes = tapes[:0]
			b.StartTimer()
		}
	}
}

// BenchmarkSession is a short session from Begin to a sealed End, by so many clients at a time.
func BenchmarkSession(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			r := openTest(b, b.TempDir())
			f := testFlow("s")
			var next atomic.Int64
			var running sync.WaitGroup
			b.ResetTimer()
			for range clients {
				running.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						tape, err := r.Begin("s"+strconv.FormatInt(n, 10), f)
						must(b, err)
						must(b, tape.Append(KindUp, []byte("select 1")))
						_, err = tape.End("closed")
						must(b, err)
					}
				})
			}
			running.Wait()
		})
	}
}

func BenchmarkLog(b *testing.B) {
	for name, kind := range map[string]string{"process": flow.RequestDecided, "disk": flow.AdminAct} {
		b.Run(name, func(b *testing.B) {
			r := openTest(b, b.TempDir())
			ev := flow.Event{Type: kind, Session: "s1", Request: &flow.Request{Protocol: "postgres", Kind: "query", Text: "select 1 from t where a = $1"}}
			for b.Loop() {
				must(b, r.Log(ev))
			}
		})
	}
}
