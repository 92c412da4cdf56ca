package detect

// card matches a payment card number (ISO/IEC 7812) whose first group of
// digits is from i to end.
func card(src []byte, i, end int) int {
	var number [19]byte
	n, stop := 0, end
	if end-i == 4 {
		if stop = cardGroups(src, i); stop == 0 || !apart(src, i) {
			return 0
		}
	} else if alnum(before(src, i)) || alnum(after(src, end)) || before(src, i) == '.' && i > 1 && digit(src[i-2]) {
		return 0 // inside a hash, or behind a decimal point
	}
	for _, c := range src[i:stop] {
		if digit(c) {
			number[n] = c - '0'
			n++
		}
	}
	if !issued(number[:n]) || !luhn(number[:n]) {
		return 0
	}
	return stop
}

// cardGroups is the end of a grouped number: 4-4-4-4, with three digits more,
// or 4-6-5 and 4-6-4 as American Express and Diners print theirs.
func cardGroups(src []byte, i int) int {
	sep := after(src, i+4)
	if sep != ' ' && sep != '-' && sep != '.' || !digit(after(src, i+7)) { // a date has its second dash there
		return 0
	}
	for _, sizes := range [...][5]int{{4, 4, 4, 4, 3}, {4, 4, 4, 4}, {4, 6, 5}, {4, 6, 4}} {
		k := len(sizes)
		for sizes[k-1] == 0 {
			k--
		}
		if end := groups(src, i, sep, sizes[:k]...); end > 0 {
			return end
		}
	}
	return 0
}

// issued says that some network issues numbers of this start and length.
func issued(d []byte) bool {
	two := int(d[0])*10 + int(d[1])
	four := two*100 + int(d[2])*10 + int(d[3])
	n := len(d)
	switch {
	case d[0] == 4: // Visa
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		return n == 16
	case two == 34, two == 37: // American Express
		return n == 15
	case two == 36, two == 38, two == 39, four >= 3000 && four <= 3059: // Diners
		return n == 14 || n == 16
	case four >= 3528 && four <= 3589, four == 6011, four/10 >= 644 && four/10 <= 649, two == 65, two == 62: // JCB, Discover, UnionPay
		return n >= 16
	case four == 5018, four == 5020, four == 5038, four == 5893, four == 6304, four == 6759, four >= 6761 && four <= 6763: // Maestro
		return n >= 12
	}
	return false
}

// luhn is ISO/IEC 7812-1 annex B; a number of one digit only is no number.
func luhn(d []byte) bool {
	sum, same := 0, true
	for i, c := range d {
		same = same && c == d[0]
		v := int(c)
		if (len(d)-i)%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0 && !same
}

// iban matches an IBAN (ISO 13616) that starts at i: two letters, two digits, and
// as many as the country has, in one piece or in groups of four.
func iban(src []byte, i int) int {
	if i < 0 || !upper(src[i]) || alnum(before(src, i)) || !digit(after(src, i+3)) {
		return 0
	}
	length := ibanLength(src[i], src[i+1])
	spaced := after(src, i+4) == ' '
	var number [34]byte
	n, end := 0, i
	for ; n < length; end++ {
		c := after(src, end)
		if spaced && n > 0 && n%4 == 0 && c == ' ' && src[end-1] != ' ' {
			continue
		}
		if !digit(c) && !upper(c) || spaced && n > 0 && n%4 == 0 && src[end-1] != ' ' {
			return 0
		}
		number[n] = c
		n++
	}
	if length == 0 || alnum(after(src, end)) || !mod97(number[:n]) {
		return 0
	}
	return end
}

// mod97 is ISO/IEC 7064 MOD 97-10 with the first four characters moved to the end.
func mod97(s []byte) bool {
	rest := 0
	for k := range s {
		c := s[(k+4)%len(s)]
		if digit(c) {
			rest = (rest*10 + int(c-'0')) % 97
			continue
		}
		rest = (rest*100 + int(c-'A') + 10) % 97
	}
	return rest == 1
}

// ibanLengths is the SWIFT IBAN registry: country and length, in groups of four bytes.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27" +
	"GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31" +
	"MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"

// ibanLength is the length of a country's numbers; 0: it has none.
func ibanLength(a, b byte) int {
	for i := 0; i < len(ibanLengths); i += 4 {
		if ibanLengths[i] == a && ibanLengths[i+1] == b {
			return int(ibanLengths[i+2]-'0')*10 + int(ibanLengths[i+3]-'0')
		}
	}
	return 0
}
