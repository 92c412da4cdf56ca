package detect

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

// cleanRows is n bytes of what databases are full of and nobody hides: ids,
// UUIDs, hashes, timestamps, prices, addresses, versions.
func cleanRows(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)
	var rows []byte
	for id := int64(1); len(rows) < n; id++ {
		t := start.Add(time.Duration(random.Int64N(8 * 365 * 24 * int64(time.Hour))))
		rows = fmt.Appendf(rows, "%d\t%s\t%08x-%04x-4%03x-%04x-%012x\t%s\t%016x%016x\t%d.%02d\t%d\n",
			id, t.Format("2006-01-02 15:04:05.999999-07"), random.Uint32(), random.Uint32N(1<<16), random.Uint32N(1<<12), 0x8000|random.Uint32N(1<<14),
			random.Uint64N(1<<48), t.Format(time.RFC3339Nano), random.Uint64(), random.Uint64(), random.IntN(99999), random.IntN(100), t.UnixMicro())
		rows = fmt.Appendf(rows, `{"id":%d,"snowflake":%d,"ns":%d,"ip":"10.%d.%d.%d","v":"%d.%d.%d","f":%v,"sku":"%03d-%02d-%03d","oid":"17 1009 %d","n":%d}`+"\n",
			random.Uint32(), 1e18+random.Int64N(8e17), t.UnixNano(), random.IntN(256), random.IntN(256), random.IntN(256),
			random.IntN(20), random.IntN(300), random.IntN(10000), random.Float64(), random.IntN(1000), random.IntN(100), random.IntN(1000), random.IntN(9999), random.Int64N(1e10))
	}
	return rows
}

// Regular expressions find about 175 things per MB in such rows.
func TestCleanRowsStayClean(t *testing.T) {
	rows := cleanRows(8 << 20)
	spans := All.Spans(nil, rows)
	if len(spans) > 4 {
		t.Errorf("%d found in %d bytes", len(spans), len(rows))
	}
	for _, s := range spans[:min(len(spans), 20)] {
		t.Logf("%v %q", s.Kind.Names(), rows[max(0, s.Start-12):min(len(rows), s.End+12)])
	}
}

func TestNothingFoundCostsNoMemory(t *testing.T) {
	rows := cleanRows(4 << 10)
	out := make([]byte, 0, 8<<10)
	if n := testing.AllocsPerRun(100, func() {
		if All.Find(rows) {
			t.Fatal("found")
		}
		out, _ = All.Scrub(out[:0], rows, mask.Mask{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzScrub(f *testing.F) {
	for _, s := range []string{"a@b.co", "4111 1111 1111 1111", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", pem,
		"DE89 3704 0044 0532 0130 00", "078-05-1120", "+1 (415) 555-2671", "x@y.zz@w.qq", "+49+49301234567", "eyJeyJeyJ.eyJ"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		whole := string(src)
		spans := All.Spans(nil, src)
		last := 0
		for _, s := range spans {
			if s.Start < last || s.End <= s.Start || s.End > len(src) {
				t.Fatalf("%v in %q", spans, src)
			}
			last = s.End
		}
		if All.Find(src) != (len(spans) > 0) {
			t.Fatalf("Find and Spans differ on %q", src)
		}
		for _, with := range []mask.Mask{{}, {Op: mask.Partial}, {Op: mask.Token, Key: []byte("k")}} {
			out, n := All.Scrub([]byte("<"), src, with)
			if n != len(spans) || string(src) != whole || n == 0 && string(out) != "<"+whole {
				t.Fatalf("%q became %q", whole, out)
			}
			if again := All.Spans(nil, out[1:]); with.Op == "" && len(again) > 0 && stays(spans, again, src, out[1:]) {
				t.Fatalf("%q became %q, which still holds a value", whole, out)
			}
		}
	})
}

// stays says that a value which was found in src is found in out again.
func stays(before, after []Span, src, out []byte) bool {
	for _, a := range after {
		for _, b := range before {
			if string(out[a.Start:a.End]) == string(src[b.Start:b.End]) {
				return true
			}
		}
	}
	return false
}

func BenchmarkClean(b *testing.B) {
	rows := cleanRows(64 << 10)
	b.SetBytes(int64(len(rows)))
	b.ReportAllocs()
	for b.Loop() {
		All.Find(rows)
	}
}

func BenchmarkText(b *testing.B) {
	var text []byte
	for len(text) < 64<<10 {
		text = append(text, "The quick brown fox jumps over the lazy dog, and nobody asks it why. "...)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		All.Find(text)
	}
}

func BenchmarkField(b *testing.B) {
	field := []byte("2026-11-23 12:34:56.123456+00")
	b.SetBytes(int64(len(field)))
	b.ReportAllocs()
	for b.Loop() {
		All.Find(field)
	}
}

func BenchmarkScrub(b *testing.B) {
	var rows, out []byte
	for len(rows) < 64<<10 {
		rows = append(rows, "17\talice@example.com\t4111 1111 1111 1111\t2026-11-23 12:34:56\n"...)
	}
	b.SetBytes(int64(len(rows)))
	b.ReportAllocs()
	for b.Loop() {
		out, _ = All.Scrub(out[:0], rows, mask.Mask{})
	}
}
