package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/jackc/pgproto3/v2"
)

func TestSizeRefusesWhatCannotBe(t *testing.T) {
	for length, want := range map[uint32]int{0: 0, 3: 0, 4: 5, 100: 101, 1<<31 - 1: 0, 1<<32 - 1: 0} {
		b := binary.BigEndian.AppendUint32([]byte{'Q'}, length)
		got, err := Size(b)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%d: %d, %v", length, got, err)
		}
	}
}

func TestStartupPackets(t *testing.T) {
	packet := func(code uint32, body string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
		return append(binary.BigEndian.AppendUint32(b, code), body...)
	}
	for name, c := range map[string]struct {
		packet []byte
		ok     bool
	}{
		"startup":             {packet(196608, "user\x00me\x00\x00"), true},
		"newer minor":         {packet(196610, "user\x00me\x00_pq_.x\x001\x00\x00"), true},
		"tls":                 {packet(SSLRequest, ""), true},
		"tls with a body":     {packet(SSLRequest, "x"), false},
		"cancel":              {packet(CancelRequest, "\x00\x00\x00\x01\x00\x00\x00\x02"), true},
		"cancel, long key":    {packet(CancelRequest, "\x00\x00\x00\x01"+string(make([]byte, 256))), true},
		"cancel without key":  {packet(CancelRequest, "\x00\x00\x00\x01"), false},
		"twice the same name": {packet(196608, "user\x00a\x00user\x00b\x00\x00"), false},
		"no end":              {packet(196608, "user\x00a\x00"), false},
		"bytes behind":        {packet(196608, "user\x00a\x00\x00x"), false},
	} {
		if _, err := ParseStartup(c.packet); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileBodiesAreErrors(t *testing.T) {
	for _, body := range []string{"", "\x00", "\x00\x01\xff\xff\xff\xfe", "\x00\x01\x7f\xff\xff\xff", "a"} {
		if _, err := DataRow([]byte(body)); err == nil {
			t.Errorf("%q is a row", body)
		}
		if _, err := Bind([]byte(body)); err == nil {
			t.Errorf("%q is a Bind", body)
		}
	}
}

// FuzzDecode: pgproto3 panics on hostile bodies; nothing of it may get out.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x02hi"))
	f.Add([]byte("\x00\x01name\x00\x00\x00\x00\x01\x00\x02\x00\x00\x00\x19\x00\x04\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte("SERROR\x00C42601\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		was := bytes.Clone(body)
		var d pgproto3.RowDescription
		_ = RowDescription(&d, body)
		_, _ = ErrorFields(body)
		_, _ = Bind(body)
		_, _ = DataRow(body)
		if len(body) >= 8 {
			_, _ = ParseStartup(body)
		}
		if !bytes.Equal(was, body) {
			t.Error("a decoder changed its input")
		}
	})
}
