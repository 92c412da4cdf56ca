package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// sly would colour, turn round or hide what stands beside it.
var sly = []string{"a\u009b31mb", "pay\u202eevil", "no\u200bthing", "tag\U000e0041", "del\u007f", "soft\u00ad", "\u2066x\u2069", "zażółć 漢字 👍🏽\n\ttab", "\u061c"}

func TestOutputForProgramsHidesNothingFromPeople(t *testing.T) {
	for _, format := range []string{"json", "yaml"} {
		out := printed(t, func() error { return show(format, listing{Values: map[string]any{"list": sly, sly[0]: 1}}) })
		for _, r := range out {
			if unseen(r) {
				t.Errorf("%s has %U: %q", format, r, out)
			}
		}
		var back struct{ List []string }
		var err error
		if format == "json" {
			err = json.Unmarshal([]byte(out), &back)
		} else {
			err = yaml.Unmarshal([]byte(out), &back)
		}
		if err != nil || !reflect.DeepEqual(back.List, sly) {
			t.Errorf("%s means %q (%v)", format, back.List, err)
		}
		if !strings.Contains(out, "漢字") {
			t.Errorf("%s hides what can be seen: %s", format, out)
		}
	}
}

func TestEscapedTextMayComeInPieces(t *testing.T) {
	for size := 1; size < 6; size++ {
		var out bytes.Buffer
		e := &escaped{w: &out}
		for in := []byte("\"a\u202eb漢\U000e0041\""); len(in) > 0; in = in[min(size, len(in)):] {
			if _, err := e.Write(in[:min(size, len(in))]); err != nil {
				t.Fatal(err)
			}
		}
		if got := out.String(); got != `"a\u202eb漢\udb40\udc41"` {
			t.Errorf("pieces of %d: %s", size, got)
		}
	}
}
