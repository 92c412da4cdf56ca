package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var key = []byte("0123456789abcdef")

func with(op Operator) Mask { return Mask{Op: op, Key: key} }

func TestText(t *testing.T) {
	for _, c := range []struct {
		op       Operator
		in, want string
	}{
		{Redact, "secret", "[masked]"}, {"", "secret", "[masked]"}, {Null, "secret", "[masked]"}, {Bucket, "x", "[masked]"}, {Shift, "x", "[masked]"},
		{Redact, "", "[masked]"}, {"nonsense", "secret", "[masked]"},
		{Partial, "4111 1111 1111 1234", "**** **** **** 1234"}, {Partial, "alice@example.com", "*****@******e.com"},
		{Partial, "", "[masked]"}, {Partial, "---", "[masked]"}, {Partial, "a", "*"}, {Partial, "abc", "***"}, {Partial, "abcd", "***d"},
		{Partial, "abcdefg", "******g"}, {Partial, "abcdefgh", "****efgh"}, {Partial, "!\"#$%&'*", "****%&'*"}, {Partial, "åäöåäöåä", "****äöåä"},
		{Partial, "\xff\xff\xff\xff\xff\xff\xff\xff", "********"}, {Partial, "abcdefg\x00", "****efg*"}, {Partial, "abcdefgh\n", "*****fgh*"},
	} {
		if got := string(with(c.op).Text([]byte(">"), []byte(c.in))); got != ">"+c.want {
			t.Errorf("%s of %q: %q, want %q", c.op, c.in, got, c.want)
		}
	}
}

func TestKeyedTextIsEqualForEqualsOnly(t *testing.T) {
	for op, shape := range map[Operator]string{Hash: `^[0-9a-f]{32}$`, Token: `^tok_[0-9a-hjkmnp-tv-z]{26}$`} {
		a, b := string(with(op).Text(nil, []byte("a"))), string(with(op).Text(nil, []byte("b")))
		other := string(Mask{Op: op, Key: []byte("another key")}.Text(nil, []byte("a")))
		if a != string(with(op).Text(nil, []byte("a"))) || a == b || a == other || !regexp.MustCompile(shape).MatchString(a) {
			t.Errorf("%s: %s %s %s", op, a, b, other)
		}
	}
}

func TestWithoutKeyIsRedacted(t *testing.T) {
	for _, op := range []Operator{Hash, Token, Shift} {
		m := Mask{Op: op}
		if string(m.Text(nil, []byte("a"))) != Masked || m.Int(5, 64) != 0 || m.UUID([16]byte{1}) != [16]byte{} || m.Time(time.Now()).Year() != 2000 {
			t.Errorf("%s without key hides nothing", op)
		}
	}
}

func TestInt(t *testing.T) {
	for _, c := range []struct {
		op       Operator
		in, want int64
	}{
		{Redact, 7, 0}, {Null, 7, 0}, {Shift, 7, 0},
		{Bucket, 7, 0}, {Bucket, 12, 10}, {Bucket, 99, 90}, {Bucket, 100, 100}, {Bucket, 5321, 5000}, {Bucket, -5321, -5000},
		{Bucket, math.MaxInt64, 9e18}, {Bucket, math.MinInt64, -9e18}, {Bucket, 0, 0},
		{Partial, 1234567, 0}, {Partial, 4111111111111234, 1234}, {Partial, -4111111111111234, -1234}, {Partial, math.MinInt64, -5808},
	} {
		if got := with(c.op).Int(c.in, 64); got != c.want {
			t.Errorf("%s of %d: %d, want %d", c.op, c.in, got, c.want)
		}
	}
	for _, bits := range []int{16, 32, 64} {
		for v := range int64(100) {
			for _, op := range Operators {
				got := with(op).Int(v-50, bits)
				if limit := int64(1)<<(bits-1) - 1; got > limit || got < -limit-1 || op.Keyed() && got < 0 {
					t.Fatalf("%s of %d in %d bits: %d", op, v, bits, got)
				}
			}
		}
	}
	if a, b := with(Hash).Int(1, 32), with(Hash).Int(2, 32); a == b || a != with(Hash).Int(1, 32) {
		t.Error("hash of integers")
	}
}

func TestFloat(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 5321.5: 5000, -5321.5: -5000, 0.00123: 0.001, math.Inf(1): 0, math.NaN(): 0, 1e308: 1e308} {
		if got := with(Bucket).Float(in); math.Abs(got-want) > math.Abs(want)*1e-9 {
			t.Errorf("bucket of %v: %v, want %v", in, got, want)
		}
	}
	for _, in := range []float64{1, math.MaxFloat64, math.SmallestNonzeroFloat64, -3} {
		for _, op := range Operators {
			if got := with(op).Float(in); math.IsNaN(got) || math.IsInf(got, 0) || op != Bucket && float64(float32(got)) != got {
				t.Errorf("%s of %v: %v", op, in, got)
			}
		}
	}
}

func TestDecimal(t *testing.T) {
	for in, want := range map[string]string{"5321.50": "5000", "-5321": "-5000", "7.9": "0", "12": "10", "NaN": "0", "Infinity": "0", "1e9": "0", "0012": "0", "": "0", "-": "0", "12x": "0"} {
		if got := string(with(Bucket).Decimal(nil, []byte(in))); got != want {
			t.Errorf("bucket of %q: %s, want %s", in, got, want)
		}
	}
	for _, op := range []Operator{Redact, Null, Partial, Shift} {
		if got := string(with(op).Decimal(nil, []byte("12.5"))); got != "0" {
			t.Errorf("%s: %s", op, got)
		}
	}
	if got := string(with(Token).Decimal(nil, []byte("12.5"))); !regexp.MustCompile(`^[0-9]{1,15}$`).MatchString(got) {
		t.Error(got)
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 34, 56, 789, time.FixedZone("x", 3600))
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	if got := with(Bucket).Time(at); got.Format(time.RFC3339Nano) != "2026-11-01T00:00:00+01:00" {
		t.Error(got)
	}
	shifted := with(Shift).Time(day)
	if d := shifted.Sub(day).Abs(); d < 24*time.Hour || d > 365*24*time.Hour || d%(24*time.Hour) != 0 {
		t.Error(shifted)
	}
	if with(Shift).Time(at).Sub(shifted) != at.Sub(day) {
		t.Error("shift changed the time between two")
	}
	for _, op := range []Operator{Redact, Null, Hash, Partial, Token} {
		if got := with(op).Time(at); !got.Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %v", op, got)
		}
	}
}

func TestUUID(t *testing.T) {
	u := [16]byte{0: 1, 13: 7, 14: 8, 15: 9}
	for _, op := range []Operator{Redact, Null, Bucket, Shift} {
		if with(op).UUID(u) != [16]byte{} {
			t.Error(op)
		}
	}
	if with(Partial).UUID(u) != [16]byte{14: 8, 15: 9} {
		t.Error("partial")
	}
	if got := with(Token).UUID(u); got[6]>>4 != 8 || got[8]>>6 != 2 || got == u || got != with(Token).UUID(u) {
		t.Errorf("%x", got)
	}
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		op       Operator
		in, want string
	}{
		{Redact, `"x"`, `"[masked]"`}, {Redact, `12.5`, `0`}, {Redact, `true`, `false`}, {Redact, `{"a":1}`, `{}`}, {Redact, `[1]`, `[]`},
		{Redact, `null`, `null`}, {Redact, ` "x" `, `"[masked]"`}, {Redact, ``, `"[masked]"`}, {Redact, `{`, `"[masked]"`}, {Redact, `nul`, `"[masked]"`},
		{Null, `"x"`, `null`}, {Null, `1`, `null`}, {Partial, `"4111-1111-1111-1234"`, `"****-****-****-1234"`}, {Partial, `"abc\"\u0001defgh"`, `"******efgh"`},
		{Bucket, `5321`, `5000`}, {Bucket, `"x"`, `"[masked]"`},
	} {
		if got := string(with(c.op).JSON(nil, []byte(c.in))); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.op, c.in, got, c.want)
		}
	}
}

func TestBytesAndBool(t *testing.T) {
	for _, op := range Operators {
		got := with(op).Bytes([]byte{1}, []byte("secret"))
		if want := map[bool]int{true: 17, false: 1}[op == Hash || op == Token]; len(got) != want || with(op).Bool(true) {
			t.Errorf("%s: %x", op, got)
		}
	}
}

func TestDerivedIsConstant(t *testing.T) {
	for _, op := range Operators {
		m := with(op).Derived()
		if a, b := m.Text(nil, []byte("a")), m.Text(nil, []byte("bbbbbbbbbbbbbbb")); !bytes.Equal(a, b) || m.IsNull() != (op == Null) {
			t.Errorf("%s: %s %s", op, a, b)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	m := with(Hash)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(format, m); strings.Contains(s, "0123") || strings.Contains(s, "48") {
			t.Errorf("%s: %s", format, s)
		}
	}
	if b, err := json.Marshal(m); err != nil || strings.Contains(string(b), "MDEy") {
		t.Errorf("%s %v", b, err)
	}
}

// starred says that a partial mask has nothing to hide in s: what it would star are stars.
func starred(s string) bool {
	all, stars := 0, 0
	for _, r := range s {
		if !separator(r) {
			all++
		}
		if r == '*' {
			stars++
		}
	}
	return all-stars <= keep(all)
}

// Whatever is masked stays of its kind, and a text of eight characters or more never stays whole.
func FuzzMask(f *testing.F) {
	f.Add([]byte("alice@example.com"), 3)
	f.Add([]byte(`{"a":"b"}`), 2)
	f.Add([]byte("-5321.50"), 5)
	f.Fuzz(func(t *testing.T, src []byte, op int) {
		m := with(Operators[uint(op)%uint(len(Operators))])
		whole := string(src)
		text := m.Text(nil, src)
		if utf8.Valid(src) && !utf8.Valid(text) || string(src) != whole {
			t.Fatalf("%s of %q: %q", m, src, text)
		}
		if string(text) == whole && whole != Masked && !(m.Op == Partial && starred(whole)) {
			t.Fatalf("%s of %q shows it", m, src)
		}
		if got := m.JSON(nil, src); !json.Valid(got) {
			t.Fatalf("%s of %q: %q is not JSON", m, src, got)
		}
		if got := m.Decimal(nil, src); !regexp.MustCompile(`^-?[0-9]+$`).Match(got) {
			t.Fatalf("%s of %q: %q is not a number", m, src, got)
		}
	})
}

func TestPartialIsTheSameForASCIIAndRunes(t *testing.T) {
	for _, s := range []string{"", "-", "a", "a.b@example.com", "4111 1111 1111 1111", "tab\there", "\x7f\x00", "+48 (22) 123-45-67", "short", strings.Repeat("x", 300)} {
		if got, want := string(partialText(nil, []byte(s))), string(partialRunes(nil, []byte(s))); got != want {
			t.Errorf("%q: %q and %q", s, got, want)
		}
	}
}
