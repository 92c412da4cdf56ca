// Package detect finds sensitive values in text: the second layer of masking,
// for where no column name says so.
//
//	email           local part @ domain with a dot
//	credit_card     12-19 digits of a known issuer in one piece, or grouped 4-4-4-4 or 4-6-5; Luhn holds
//	aws_access_key  AKIA, ASIA, ABIA or ACCA and 16 of A-Z 2-7
//	jwt             two base64url parts that start with eyJ, and a signature that may be empty
//	private_key     -----BEGIN ... PRIVATE KEY----- to its END line, or to the end of the text
//	iban            country, length and mod 97 hold; in one piece or grouped by four
//	us_ssn          3-2-4 digits, separated, not in a range that is never given out
//	phone           + and 8-15 digits, or 3-3-4 digits separated as in North America
//
// # Why
//
// They are written by hand, around a rare byte each (@, a digit, "eyJ"), and verify
// what stands around it: on rows of ids and timestamps some seventy times as fast as
// regular expressions, and group shapes instead of digit counts keep UUIDs, hashes
// and timestamps out. A detector sees one field at a time: a value that
// was split over two, or encoded, is not found. It is a net, not a wall.
package detect

import (
	"slices"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

// Set is a set of detectors.
type Set uint16

// The detectors.
const (
	Email Set = 1 << iota
	CreditCard
	AWSAccessKey
	JWT
	PrivateKey
	IBAN
	USSSN
	Phone
)

// All is every detector.
const All = Email | CreditCard | AWSAccessKey | JWT | PrivateKey | IBAN | USSSN | Phone

// Span is where a value stands in a text.
type Span struct {
	Start, End int // bytes
	Kind       Set // one detector
}

// Find says that something in src would be scrubbed. It does not allocate.
func (s Set) Find(src []byte) bool {
	found := false
	s.each(src, func(Span) bool {
		found = true
		return false
	})
	return found
}

// Spans appends what was found in src, in order and without overlaps: spans that touch
// the same bytes become one, with the kind of the first.
func (s Set) Spans(spans []Span, src []byte) []Span {
	start := len(spans)
	s.each(src, func(found Span) bool {
		spans = append(spans, found)
		return true
	})
	return spans[:start+merge(spans[start:])]
}

// Scrub appends src to dst with every value that is found replaced by what m
// makes of it, and counts the values.
func (s Set) Scrub(dst, src []byte, m mask.Mask) ([]byte, int) {
	var few [8]Span
	spans := s.Spans(few[:0], src)
	last := 0
	for _, found := range spans {
		dst = append(dst, src[last:found.Start]...)
		dst = m.Text(dst, src[found.Start:found.End])
		last = found.End
	}
	return append(dst, src[last:]...), len(spans)
}

// each calls yield for what every detector finds, until it returns false.
func (s Set) each(src []byte, yield func(Span) bool) {
	_ = s&Email != 0 && !emails(src, yield) ||
		s&AWSAccessKey != 0 && !awsKeys(src, yield) ||
		s&JWT != 0 && !jwts(src, yield) ||
		s&PrivateKey != 0 && !privateKeys(src, yield) ||
		s&(CreditCard|IBAN|USSSN|Phone) != 0 && !s.numbers(src, yield)
}

// merge sorts spans and joins those that overlap; it returns how many are left.
func merge(spans []Span) int {
	if len(spans) == 0 {
		return 0
	}
	slices.SortFunc(spans, func(a, b Span) int { return a.Start - b.Start })
	n := 0
	for _, next := range spans[1:] {
		if next.Start < spans[n].End {
			spans[n].End = max(spans[n].End, next.End)
			continue
		}
		n++
		spans[n] = next
	}
	return n + 1
}
