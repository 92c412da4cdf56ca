// Package mask has the ways of hiding a field: pure functions from a value to a
// value of the same type, so that a driver that scans an int still gets one.
//
//	         text            integer       float, decimal  bool   time, date    uuid        bytes       JSON
//	redact   [masked]        0             0               false  2000-01-01    nil uuid    empty       "[masked]" 0 false {} []
//	null     NULL, where one can stand (IsNull); elsewhere as redact                                    null
//	hash     32 hex digits   keyed, >= 0   keyed, >= 0     false  as redact     UUIDv8      16 bytes    by type
//	partial  last 4 stay     last 4 stay   0               false  as redact     last 4 stay as redact   by type
//	token    tok_ + base32   keyed, >= 0   keyed, >= 0     false  as redact     UUIDv8      16 bytes    by type
//	bucket   as redact       first digit   first digit     false  month         as redact   as redact   by type
//	shift    as redact       as redact     as redact       false  +-1..365 days as redact   as redact   by type
//
// What cannot be hidden the way that was asked for is redacted. SQL NULL and JSON null
// are not values and pass as they are.
//
// # Why
//
// Keyed operators are HMAC-SHA-256 with a key per mask and host: an unkeyed hash of a
// nine digit number is reversed by trying all of them. hash and token reveal
// equality, and nothing else; partial and bucket reveal what they keep, shift the
// distance between two values. Format-preserving encryption was turned down: it is only
// safe on large domains.
package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// Operator names a way of masking.
type Operator string

// The operators.
const (
	Redact  Operator = "redact"  // a constant of the same type
	Null    Operator = "null"    // SQL NULL, JSON null
	Hash    Operator = "hash"    // keyed digest: equal values stay equal
	Partial Operator = "partial" // the last four characters stay
	Token   Operator = "token"   // keyed token that looks like an identifier
	Bucket  Operator = "bucket"  // numbers and times rounded to a coarse step
	Shift   Operator = "shift"   // times moved by a keyed offset
)

// Operators lists them.
var Operators = []Operator{Redact, Null, Hash, Partial, Token, Bucket, Shift}

// Keyed says that the operator needs a key.
func (o Operator) Keyed() bool { return o == Hash || o == Token || o == Shift }

// Mask is one operator with its key. The zero Mask redacts, and so does a
// keyed operator without key.
type Mask struct {
	Op  Operator
	Key []byte `json:"-"` // of keyed operators; never printed
}

// String names the operator; the key is not part of it.
func (m Mask) String() string { return string(m.op()) }

// GoString is String.
func (m Mask) GoString() string { return m.String() }

// IsNull says that the value becomes NULL, where its place can hold one.
func (m Mask) IsNull() bool { return m.Op == Null }

// Derived is the mask for a value that was computed from masked ones: a constant
// or NULL, as nothing of such a value may show (not its length, not its equality).
func (m Mask) Derived() Mask {
	if m.Op == Null {
		return m
	}
	return Mask{Op: Redact}
}

// op is the operator as it is carried out.
func (m Mask) op() Operator {
	if m.Op == "" || m.Op.Keyed() && len(m.Key) == 0 {
		return Redact
	}
	return m.Op
}

// digest is the keyed digest of a value; kind keeps types apart.
func (m Mask) digest(kind byte, value []byte) [sha256.Size]byte {
	var h hash.Hash = hmac.New(sha256.New, m.Key)
	h.Write([]byte{kind})
	h.Write(value)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}
