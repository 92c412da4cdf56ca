package detect

// numbers looks at every group of digits for those detectors that start with one.
// What stands behind a value, or behind one separator more, starts a text of its
// own: no detector takes the value for a number that goes on to the left.
func (s Set) numbers(src []byte, yield func(Span) bool) bool {
	passed := 0 // bytes of the text that are no longer in src
	for i := nextDigit(src, 0); i < len(src); {
		end := i + 1
		for end < len(src) && digit(src[end]) {
			end++
		}
		found := s.number(src, i, end)
		if found.End > 0 {
			if !yield(Span{passed + found.Start, passed + found.End, found.Kind}) {
				return false
			}
			end = found.End
			if c := after(src, end); c == '-' || c == '.' || c == '_' {
				end++
			}
			src, passed, end = src[end:], passed+end, 0
		}
		i = nextDigit(src, end)
	}
	return true
}

// number tries the detectors on the group of digits from i to end. The group's
// length excludes most of them at once.
func (s Set) number(src []byte, i, end int) Span {
	if c := before(src, i); upper(c) && s&IBAN != 0 {
		if stop := iban(src, i-2); stop > 0 {
			return Span{i - 2, stop, IBAN}
		}
	} else if s&Phone != 0 && (c == '+' || c == '(') {
		if start, stop := phoneSigned(src, i); stop > 0 {
			return Span{start, stop, Phone}
		}
	}
	switch n := end - i; {
	case n == 3 && s&(USSSN|Phone) != 0:
		if stop := ssn(src, i); s&USSSN != 0 && stop > 0 {
			return Span{i, stop, USSSN}
		}
		if stop := phoneLocal(src, i); s&Phone != 0 && stop > 0 {
			return Span{i, stop, Phone}
		}
	case (n == 4 || n >= 12 && n <= 19) && s&CreditCard != 0:
		if stop := card(src, i, end); stop > 0 {
			return Span{i, stop, CreditCard}
		}
	}
	return Span{}
}

// groups matches groups of digits of these sizes from i on, all separated by sep,
// and no digit or letter behind; it returns the end, 0 for no match.
func groups(src []byte, i int, sep byte, sizes ...int) int {
	for k, size := range sizes {
		if k > 0 {
			if after(src, i) != sep {
				return 0
			}
			i++
		}
		for range size {
			if !digit(after(src, i)) {
				return 0
			}
			i++
		}
	}
	if alnum(after(src, i)) {
		return 0
	}
	return i
}

// apart says that no number or word goes on to the left of i.
func apart(src []byte, i int) bool {
	c := before(src, i)
	return !alnum(c) && c != '-' && c != '.' && c != '_'
}

// ssn matches 3-2-4 digits. Areas 000, 666 and 900 up, group 00 and serial 0000 are
// never given out (SSA, Program Operations Manual RM 10201.035).
func ssn(src []byte, i int) int {
	sep := after(src, i+3)
	if sep != '-' && sep != ' ' || !apart(src, i) {
		return 0
	}
	end := groups(src, i, sep, 3, 2, 4)
	if end == 0 || after(src, end) == '-' || src[i] == '9' {
		return 0
	}
	area, group, serial := string(src[i:i+3]), string(src[i+4:i+6]), string(src[i+7:i+11])
	if area == "000" || area == "666" || group == "00" || serial == "0000" {
		return 0
	}
	return end
}

// phoneLocal matches 3-3-4 digits separated by - or ., as in North America:
// neither area nor exchange starts with 0 or 1.
func phoneLocal(src []byte, i int) int {
	sep := after(src, i+3)
	if sep != '-' && sep != '.' || src[i] < '2' {
		return 0
	}
	if !apart(src, i) && !(before(src, i) == '-' && i >= 2 && src[i-2] == '1' && apart(src, i-2)) {
		return 0
	}
	end := groups(src, i, sep, 3, 3, 4)
	if end == 0 || src[i+4] < '2' || after(src, end) == sep {
		return 0
	}
	return end
}

// phoneSigned matches a number whose first digit i follows a + or a bracket.
func phoneSigned(src []byte, i int) (start, end int) {
	start = i - 1
	if src[start] == '(' {
		if after(src, i+3) != ')' || src[i] < '2' {
			return 0, 0
		}
		rest := i + 4
		if after(src, rest) == ' ' {
			rest++
		}
		if sep := after(src, rest+3); sep != '-' && sep != '.' && sep != ' ' {
			return 0, 0
		}
		return start, groups(src, rest, after(src, rest+3), 3, 4)
	}
	if alnum(before(src, start)) || src[i] == '0' {
		return 0, 0
	}
	return start, phoneDigits(src, i)
}

// phoneDigits is the end of 8 to 15 digits (ITU-T E.164) with single separators.
func phoneDigits(src []byte, i int) int {
	count, end := 0, 0
	for gap := 0; i < len(src) && gap < 3 && count <= 15; i++ {
		switch c := src[i]; {
		case digit(c):
			count, gap, end = count+1, 0, i+1
		case c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' || c == '/':
			gap++
		default:
			gap = 3
		}
	}
	if count < 8 || count > 15 || alnum(after(src, end)) {
		return 0
	}
	return end
}
