package detect

import "bytes"

// emails finds local@domain.
func emails(src []byte, yield func(Span) bool) bool {
	for i := 0; ; i++ {
		at := bytes.IndexByte(src[i:], '@')
		if at < 0 {
			return true
		}
		i += at
		start := i
		for start > 0 && i-start < 64 && local(src[start-1]) {
			start--
		}
		if end := domain(src, i+1); start < i && end > 0 && !yield(Span{start, end, Email}) {
			return false
		}
	}
}

// local says that c may stand before the @ (RFC 5321 atoms, UTF-8, no quotes).
func local(c byte) bool {
	return alnum(c) || c >= 0x80 || bytes.IndexByte([]byte("._%+-!#$&'*/=?^`{|}~"), c) >= 0
}

// domain is the end of a domain name with a dot at i; 0 when there is none.
func domain(src []byte, i int) int {
	end := run(src, i, 253, func(c byte) bool { return alnum(c) || c == '-' || c == '.' || c >= 0x80 })
	name := bytes.TrimRight(src[i:end], ".-")
	dot := bytes.LastIndexByte(name, '.')
	if dot <= 0 || len(name)-dot < 3 || digit(name[dot+1]) {
		return 0
	}
	return i + len(name)
}

// awsKeys finds access key ids; AWS writes them in the base32 alphabet.
func awsKeys(src []byte, yield func(Span) bool) bool {
	for i := 0; ; {
		at := bytes.IndexByte(src[i:], 'A')
		if at < 0 {
			return true
		}
		i += at
		if len(src)-i < 20 {
			return true
		}
		end := run(src, i, 21, func(c byte) bool { return upper(c) || c >= '2' && c <= '7' })
		if end-i == 20 && awsPrefix(string(src[i:i+4])) && !alnum(before(src, i)) && !alnum(after(src, end)) && !yield(Span{i, end, AWSAccessKey}) {
			return false
		}
		i++
	}
}

func awsPrefix(s string) bool { return s == "AKIA" || s == "ASIA" || s == "ABIA" || s == "ACCA" }

// jwts finds compact JWS (RFC 7515): header and payload are JSON objects, so
// their base64url starts with eyJ.
func jwts(src []byte, yield func(Span) bool) bool {
	for i := 0; ; {
		at := bytes.Index(src[i:], []byte("eyJ"))
		if at < 0 {
			return true
		}
		i += at
		end := run(src, i, len(src), base64url)
		if base64url(before(src, i)) && !bytes.HasSuffix(src[:i], []byte("-----")) || end-i < 10 || !bytes.HasPrefix(src[end:], []byte(".eyJ")) {
			i = end
			continue
		}
		if end = run(src, end+1, len(src), base64url); after(src, end) == '.' {
			end = run(src, end+1, len(src), base64url)
		}
		if !yield(Span{i, end, JWT}) {
			return false
		}
		i = end
	}
}

// privateKeys finds PEM private keys (RFC 7468) of any label.
func privateKeys(src []byte, yield func(Span) bool) bool {
	for i := 0; ; {
		at := bytes.Index(src[i:], []byte("-----BEGIN "))
		if at < 0 {
			return true
		}
		i += at
		label := src[i+len("-----BEGIN "):]
		stop := bytes.Index(label[:min(len(label), 64)], []byte("PRIVATE KEY"))
		if stop < 0 {
			i += len("-----BEGIN ")
			continue
		}
		end := pemEnd(src, i+len("-----BEGIN ")+stop)
		if !yield(Span{i, end, PrivateKey}) {
			return false
		}
		i = end
	}
}

// pemEnd is the end of the END line after i, or of the text.
func pemEnd(src []byte, i int) int {
	at := bytes.Index(src[i:], []byte("-----END "))
	if at < 0 {
		return len(src)
	}
	i += at + len("-----END ")
	if at = bytes.Index(src[i:min(len(src), i+64)], []byte("-----")); at < 0 {
		return len(src)
	}
	return i + at + len("-----")
}
