// Package detect finds sensitive values in text: the second layer of masking,
// for where no column name says so.
package detect

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
