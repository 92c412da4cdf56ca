package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestScanFindsTheHeadHoweverItComes(t *testing.T) {
	raw := "GET / HTTP/1.1\r\nHost: a\r\nX-A:  b \r\nX-Empty:\r\n\r\nrest"
	var h Head
	for end := range len(raw) {
		n, err := h.Scan([]byte(raw[:end]))
		if whole := end >= len(raw)-len("rest"); err != nil || whole != (n > 0) {
			t.Fatalf("%d bytes: n %d, %v", end, n, err)
		}
		if n == 0 {
			continue
		}
		if string(h.Start) != "GET / HTTP/1.1" || len(h.Fields) != 3 || string(h.Fields[1].Value) != "b" || len(h.Fields[2].Value) != 0 || n != len(raw)-4 {
			t.Fatalf("start %q fields %q", h.Start, h.Fields)
		}
	}
}

func TestBodiesAreCutWhereTheyEnd(t *testing.T) {
	for name, c := range map[string]struct {
		f        Framing
		in, want string
		used     int
		fault    error
	}{
		"empty":           {Framing{}, "GET", "", 0, nil},
		"length":          {Framing{By: ByLength, Length: 3}, "abcGET", "abc", 3, nil},
		"close":           {Framing{By: ByClose}, "abc", "abc", 3, nil},
		"chunks":          {Framing{By: ByChunks}, "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\nGET", "abc0123456789", 35, nil},
		"trailer":         {Framing{By: ByChunks}, "0\r\nA: b\r\nC:\r\n\r\nGET", "", 15, nil},
		"space in size":   {Framing{By: ByChunks}, "3 \r\nabc\r\n0\r\n\r\n", "", 1, ErrChunkSize},
		"no size":         {Framing{By: ByChunks}, "\r\nabc", "", 0, ErrChunkSize},
		"sign":            {Framing{By: ByChunks}, "+3\r\nabc", "", 0, ErrChunkSize},
		"0x":              {Framing{By: ByChunks}, "0x3\r\nabc", "", 1, ErrChunkSize},
		"huge":            {Framing{By: ByChunks}, "ffffffffffffffff\r\n", "", 15, ErrChunkSize},
		"bare LF":         {Framing{By: ByChunks}, "3\nabc", "", 1, ErrChunkSize},
		"LF in extension": {Framing{By: ByChunks}, "3;a\nabc", "", 3, ErrChunkExt},
		"long extension":  {Framing{By: ByChunks}, "3;" + strings.Repeat("a", 300), "", 2 + 256, ErrChunkExt},
		"no CR LF":        {Framing{By: ByChunks}, "3\r\nabcd\r\n", "abc", 6, ErrChunkEnd},
		"trailer length":  {Framing{By: ByChunks}, "0\r\nContent-Length: 3\r\n", "", 17, ErrTrailer},
		"trailer host":    {Framing{By: ByChunks}, "0\r\nHOST: b\r\n", "", 7, ErrTrailer},
		"trailer fold":    {Framing{By: ByChunks}, "0\r\n a: b\r\n", "", 3, ErrTrailer},
		"trailer line":    {Framing{By: ByChunks}, "0\r\nabc\r\n", "", 6, ErrTrailer},
		"long trailer":    {Framing{By: ByChunks}, "0\r\nA: " + strings.Repeat("b", 9<<10), "", 3 + 8<<10, ErrTrailer},
	} {
		for _, cut := range []int{1, 2, 1 << 20} {
			var b Body
			b.Begin(c.f)
			var got []byte
			used, fault := 0, error(nil)
			for used < len(c.in) && fault == nil && !b.Done() {
				var n int
				var content []byte
				n, content, fault = b.Next([]byte(c.in[used:min(len(c.in), used+cut)]))
				got, used = append(got, content...), used+n
			}
			if string(got) != c.want || used != c.used || fault != c.fault {
				t.Errorf("%s, cut %d: content %.40q used %d fault %v, want %.40q %d %v", name, cut, got, used, fault, c.want, c.used, c.fault)
			}
		}
	}
}

func TestReadings(t *testing.T) {
	for path, want := range map[string][2]string{
		"/":            {"/", "/"},
		"/a/b":         {"/a/b", "/a/b"},
		"/%61":         {"/a", "/a"},
		"/a%2fb":       {"/a%2Fb", "/a/b"},
		"/a//b/":       {"/a//b/", "/a/b/"},
		"/a;x=1/b":     {"/a;x=1/b", "/a/b"},
		"/a%3bx/b":     {"/a%3Bx/b", "/a/b"},
		"/%c3%a9":      {"/é", "/é"},
		"/.well-known": {"/.well-known", "/.well-known"},
		"/a..b":        {"/a..b", "/a..b"},
		"/100%25":      {"/100%25", "/100%"},
	} {
		literal, loose, err := Readings(path)
		if err != nil || literal != want[0] || loose != want[1] {
			t.Errorf("%s: %q %q %v, want %q", path, literal, loose, err, want)
		}
	}
	for _, path := range []string{
		"/..", "/.", "/a/../b", "/%2e%2e/", "/a/%2E./b", "/..%2fa", "/a%2f..", "/..;x/a", "/.;/a", "/..%3b/a", "/%00", "/%0a", "/%5c", "/%", "/%1", "/%zz", "/%252e", "/%ff",
	} {
		if literal, loose, err := Readings(path); err != ErrPath {
			t.Errorf("%s is read as %q and %q", path, literal, loose)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []byte("x"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), []byte("abc"))
	f.Fuzz(func(t *testing.T, raw, more []byte) {
		var h, again Head
		n, err := h.Scan(raw)
		if n == 0 && err == nil {
			return
		}
		for end := range raw {
			if k, _ := again.Scan(raw[:end]); k > 0 && k != n {
				t.Fatalf("%d bytes in pieces, %d whole", k, n)
			} else if k > 0 {
				break
			}
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(raw[:n], []byte("\r\n\r\n")) {
			t.Fatalf("a head ends in %q", raw[:n])
		}
		var q Request
		var p Response
		if q.Read(&h) == nil {
			_, codings := h.Only("transfer-encoding")
			_, lengths := h.Only("content-length")
			if codings+lengths > 1 || len(q.Host) == 0 || codings == 1 != (q.Framing.By == ByChunks) {
				t.Fatalf("framed although ambiguous: %q", raw[:n])
			}
		}
		_ = p.Read(&h, OtherMethod)
		_ = more
	})
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\nA: b\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		if cut < 1 || cut > 64 {
			return
		}
		var whole, cuts Body
		whole.Begin(Framing{By: ByChunks})
		cuts.Begin(Framing{By: ByChunks})
		n, err := whole.Span(raw)
		k, fault := 0, error(nil)
		for k < len(raw) && fault == nil && !cuts.Done() {
			var used int
			used, fault = cuts.Span(raw[k:min(len(raw), k+cut)])
			k += used
		}
		if n != k || err != fault {
			t.Fatalf("whole %d %v, cut %d %v", n, err, k, fault)
		}
	})
}

func FuzzReadings(f *testing.F) {
	f.Add("/a%2fb//c;d")
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		literal, loose, err := Readings(path)
		if err != nil {
			return
		}
		for _, p := range []string{literal, loose} {
			if strings.Contains(p+"/", "/../") || strings.Contains(p+"/", "/./") || strings.Contains(p, "\x00") {
				t.Fatalf("%q is read as %q", path, p)
			}
		}
		if strings.Contains(loose, "//") || strings.Contains(loose, ";") {
			t.Fatalf("%q is settled to %q", path, loose)
		}
	})
}
