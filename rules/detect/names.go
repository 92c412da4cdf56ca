package detect

// names of the detectors as a policy spells them, in the order of their bits.
var names = []string{"email", "credit_card", "aws_access_key", "jwt", "private_key", "iban", "us_ssn", "phone"}

// Names lists the detectors.
func Names() []string { return append([]string(nil), names...) }

// Named finds a detector by name.
func Named(name string) (Set, bool) {
	for i, n := range names {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Names lists the detectors in s.
func (s Set) Names() []string {
	var all []string
	for i, n := range names {
		if s&(1<<i) != 0 {
			all = append(all, n)
		}
	}
	return all
}
