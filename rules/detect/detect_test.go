package detect

import (
	"bytes"
	"testing"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

const pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"

func TestFinds(t *testing.T) {
	for _, c := range []struct {
		kind  Set
		value string
	}{
		{Email, "alice@example.com"}, {Email, "a.b+c@mail.example.co.uk"}, {Email, "josé@exämple.org"},
		{CreditCard, "4111111111111111"}, {CreditCard, "4111 1111 1111 1111"}, {CreditCard, "5500-0000-0000-0004"},
		{CreditCard, "4111.1111.1111.1111"}, {CreditCard, "378282246310005"}, {CreditCard, "3782 822463 10005"}, {CreditCard, "6011111111111117"},
		{CreditCard, "30569309025904"}, {CreditCard, "3530111333300000"}, {CreditCard, "6304000000000000"},
		{AWSAccessKey, "AKIAIOSFODNN7EXAMPLE"}, {AWSAccessKey, "ASIAIOSFODNN7EXAMPLE"},
		{JWT, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"},
		{JWT, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
		{PrivateKey, pem}, {PrivateKey, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz"},
		{IBAN, "DE89370400440532013000"}, {IBAN, "GB29NWBK60161331926819"}, {IBAN, "DE89 3704 0044 0532 0130 00"},
		{IBAN, "NO9386011117947"}, {IBAN, "FR1420041010050500013M02606"},
		{USSSN, "078-05-1120"}, {USSSN, "219 09 9999"},
		{Phone, "+49 30 901820"}, {Phone, "+14155552671"}, {Phone, "415-555-2671"}, {Phone, "(415) 555-2671"},
		{Phone, "415.555.2671"}, {Phone, "+1 (415) 555-2671"},
	} {
		for _, around := range [][2]string{{"", ""}, {"x ", " y"}, {"\"", "\""}, {"a=", ";"}, {"é", "é"}, {"(", ")"}, {",", ",7"}} {
			src := []byte(around[0] + c.value + around[1])
			out, n := c.kind.Scrub(nil, src, mask.Mask{})
			if n != 1 || bytes.Contains(out, []byte(c.value)) || !c.kind.Find(src) {
				t.Errorf("%v in %q: %d found, %q", c.kind.Names(), src, n, out)
			}
		}
	}
}

func TestLeavesAlone(t *testing.T) {
	for _, s := range []string{
		"", "@", "a@b", "user@host", "@example.com", "1@1.1", "4111111111111112", "1234567812345670", "0000000000000000",
		"2026-11-23 12:34:56.123456+00", "2026-11-23T12:34:56Z", "1764000000000000", "1764000000000000000",
		"123e4567-e89b-12d3-a456-426614174000", "d41d8cd98f00b204e9800998ecf8427e", "17 1009 1009", "192.168.100.200",
		"10.20.30.40:5432", "0.4111111111111111", "AKIA", "AKIAIOSFODNN7EXAMPL", "xAKIAIOSFODNN7EXAMPLE", "eyJ", "eyJhbGciOi.x",
		"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "DE89370400440532013001", "000-12-3456", "666-12-3456",
		"912-12-3456", "123-00-4567", "123-45-0000", "1.415.555.2671.9", "115-555-2671", "+00:00", "1e+12345678", "SKU-415-555-2671-X",
	} {
		if spans := All.Spans(nil, []byte(s)); len(spans) != 0 {
			t.Errorf("%q: %v %v", s, spans, spans[0].Kind.Names())
		}
	}
}

// A value is found right behind another one too: what was hidden does not hide its neighbour.
func TestFindsNeighbours(t *testing.T) {
	for _, c := range [][2]string{
		{"+10000000", "+10000000"}, {"4111-1111-1111-1111", "-4111-1111-1111-1111"}, {"(415) 555-2671", "(415) 555-2671"},
		{"4111 1111 1111 1111", "+49 30 901820"}, {"078-05-1120", "_078-05-1120"}, {pem, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
	} {
		out, n := All.Scrub(nil, []byte(c[0]+c[1]+" end"), mask.Mask{})
		if n != 2 || bytes.ContainsAny(out, "0123456789") || !bytes.HasSuffix(out, []byte(" end")) {
			t.Errorf("%q: %d found, %q", c, n, out)
		}
	}
}
