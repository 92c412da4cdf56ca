package postgres

import (
	"fmt"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/rules"
	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// result is n rows of seven columns, as a server sends them.
func result(n int) []byte {
	var out []byte
	for i := range n {
		m, at := wire.Begin(nil, 'D')
		m = append(m, 0, 7)
		for _, v := range []string{fmt.Sprint(i), fmt.Sprintf("customer number %d", i), fmt.Sprintf("713-48-%04d", i%10000), "2020-01-01",
			fmt.Sprintf("some words about order %d, and where it is to go", i), "12", "pending"} {
			m = append(m, 0, 0, 0, byte(len(v)))
			m = append(m, v...)
		}
		out = append(out, wire.End(m, at)...)
	}
	return out
}

// BenchmarkRows is the way down of 100,000 rows, in reads of 64 KiB.
func BenchmarkRows(b *testing.B) {
	data := result(100_000)
	partial, set := theMask("partial"), detect.CreditCard|detect.AWSAccessKey
	text, number := column{oid: oidText}, column{oid: oidInt4}
	ssn, words := column{oid: oidText, action: masked, with: partial}, column{oid: oidText, action: detected, set: set, with: partial}
	for _, c := range []struct {
		name string
		plan *plan
	}{
		{"unmasked", nil},
		{"partial", &plan{shaped: true, rows: true, busy: true, columns: []column{number, text, ssn, text, text, number, text}}},
		{"redact", &plan{shaped: true, rows: true, busy: true, columns: []column{number, text, {oid: oidText, action: masked}, text, text, number, text}}},
		{"detectors", &plan{shaped: true, rows: true, busy: true, columns: []column{number, text, text, text, words, number, text}}},
		{"both", &plan{shaped: true, rows: true, busy: true, columns: []column{number, text, ssn, text, words, number, text}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := rowsEngine()
			e.queue.push(owed{step: stepExecute, plan: c.plan})
			buf, out := make([]byte, 64<<10), &interceptor.Output{}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				left, held := data, 0
				for len(left) > 0 {
					n := copy(buf[held:], left)
					left = left[n:]
					in := buf[:held+n]
					out.Reset()
					used, err := e.Feed(interceptor.Down, in, out)
					if err != nil {
						b.Fatal(err)
					}
					held = copy(buf, in[used:])
				}
			}
		})
	}
}

func rowsEngine() *engine {
	e := fresh(&protocoltest.Tape{Forget: true})
	e.s.Level = rules.RecordFull
	e.phase = ready
	return e
}

// theMask is one a policy names.
func theMask(with string) mask.Mask {
	text := "identities:\n  - {name: bot, owner: a@example.com, match: [{unit: bot.service}]}\ntargets:\n  - {name: db, protocol: postgres, addresses: [\"127.0.0.1:1\"], tls: {upstream: disable}}\n" +
		"grants:\n  - {identity: bot, target: db}\nmasks:\n  - {name: m, target: db, detect: [email], with: " + with + "}\n"
	p, err := rules.Parse([]rules.File{{Name: "policy.yaml", Data: []byte(text)}}, rules.Options{Generation: 1, Key: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		panic(err)
	}
	_, m := p.Masks("bot", "db").Detectors()
	return m
}
