// Package mask has the ways of hiding a field: pure functions from a value to a
// value of the same type.
package mask

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

// Mask is one operator with its key. The zero Mask redacts.
type Mask struct {
	Op  Operator
	Key []byte // of keyed operators; never printed
}

// Operators lists them.
var Operators = []Operator{Redact, Null, Hash, Partial, Token, Bucket, Shift}

// Keyed says that the operator needs a key.
func (o Operator) Keyed() bool { return o == Hash || o == Token || o == Shift }
