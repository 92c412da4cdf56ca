package detect

import "slices"

// names of the detectors as a policy spells them, in the order of their bits.
var names = []string{"email", "credit_card", "aws_access_key", "jwt", "private_key", "iban", "us_ssn", "phone"}

// Names lists the detectors.
func Names() []string { return slices.Clone(names) }

// Named finds a detector by name.
func Named(name string) (Set, bool) {
	i := slices.Index(names, name)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
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
