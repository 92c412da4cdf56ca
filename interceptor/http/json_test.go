package http

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"

	"github.com/chaperone-dev/chaperone/rules"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// scrubbed sends in through s in pieces of at most cut bytes.
func scrubbed(s scrubber, in []byte, cut int) (out []byte, err error) {
	for len(in) > 0 {
		n := min(cut, len(in))
		piece := append([]byte(nil), in[:n]...)
		if out, err = s.write(out, piece); err != nil {
			return out, err
		}
		for i := range piece {
			piece[i] = 'X'
		}
		in = in[n:]
	}
	return s.close(out)
}

// reference masks "$..a" and "$.b.*" in a decoded value.
func reference(v any, under string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if key == "a" || under == "b" {
				v[key] = hidden(child)
				continue
			}
			v[key] = reference(child, below(under, key))
		}
	case []any:
		for i, child := range v {
			if under == "b" {
				v[i] = hidden(child)
				continue
			}
			v[i] = reference(child, below(under, ""))
		}
	}
	return v
}

// below is "b" exactly for the root's member of that name.
func below(under, key string) string {
	if under == "root" && key == "b" {
		return "b"
	}
	return "deep"
}

func hidden(v any) any {
	switch v.(type) {
	case nil:
		return nil
	case string:
		return mask.Masked
	case bool:
		return false
	case map[string]any:
		return map[string]any{}
	case []any:
		return []any{}
	}
	return json.Number("0")
}

// values decodes a stream of JSON; ok says that it is one.
func values(b []byte) (all []any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for {
		var v any
		switch err := d.Decode(&v); {
		case err == io.EOF:
			return all, true
		case err != nil:
			return all, false
		}
		all = append(all, v)
	}
}

// FuzzJSON holds the walker to encoding/json: what passes is what a decoder would read, masked, whatever the cuts.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":{"c":[1]},"c":{"a":{"a":"x"}}}`, `[{"a":"\u0061\ud83d\ude00"},null,true,-1.5e3]`, "{\"b\":[1,\"]\"]}\n{\"\\u0061\":{}}", `{"a":"\\\"","x":"}"}`} {
		f.Add([]byte(seed), 1)
	}
	masks := []rules.JSONMask{{Path: []string{"**", "a"}}, {Path: []string{"b", "*"}}}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 1 || cut > 64 || len(in) > 8<<10 {
			return
		}
		whole, err := scrubbed(newJSONScrubber(masks, 0, mask.Mask{}, func(int) {}), in, len(in)+1)
		pieces, failed := scrubbed(newJSONScrubber(masks, 0, mask.Mask{}, func(int) {}), in, cut)
		if (err == nil) != (failed == nil) || err == nil && !bytes.Equal(whole, pieces) || !bytes.HasPrefix(pieces, whole) {
			t.Fatalf("whole %q %v, cut %q %v", whole, err, pieces, failed)
		}
		want, valid := values(in)
		if err != nil || !valid {
			return // stricter or laxer about what is no JSON: it holds no value a path could name
		}
		got, ok := values(whole)
		if !ok || len(got) != len(want) {
			t.Fatalf("%q became %q", in, whole)
		}
		for i := range want {
			if w := reference(want[i], "root"); !reflect.DeepEqual(got[i], w) {
				t.Fatalf("%q became %q, want %v", in, whole, w)
			}
		}
	})
}

// FuzzWord holds isWord to encoding/json.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{"0", "-0.5e+10", "01", "1.", ".5", "1e", "true", "nul", "-", "1E5"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, c := range in {
			if !wordByte(c) {
				return
			}
		}
		if got, want := isWord(in), json.Valid(in); got != want {
			t.Fatalf("%q: %v, encoding/json says %v", in, got, want)
		}
	})
}

// FuzzText holds the window to the detectors on the whole: nothing they find whole is left by pieces.
func FuzzText(f *testing.F) {
	f.Add([]byte("a al@example.com\nx 4111 1111 1111 1111"), 3)
	f.Add([]byte("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"), 5)
	set, with := masks(f, detectMasks).Detectors()
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 1 || cut > 64 || len(in) > 32<<10 {
			return
		}
		want, _ := set.Scrub(nil, in, with)
		got, err := scrubbed(&textScrubber{set: set, with: with, count: func(int) {}}, in, cut)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: in pieces %q (%v), whole %q", in, got, err, want)
		}
	})
}
