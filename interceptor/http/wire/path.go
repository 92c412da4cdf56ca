package wire

import (
	"strings"
	"unicode/utf8"
)

// ErrPath is a path that different servers read as different paths.
const ErrPath = Fault("the path has dot segments, control characters or encodings that servers read differently")

// Readings are the paths a server may understand. Literal keeps what is
// encoded or doubled apart (%2F, "//", ";x"); Loose has it decoded, merged and
// dropped. They are the same for nearly every request; where they differ, a rule has
// to let both pass. Dot segments, NUL, backslashes and double encodings are refused.
func Readings(path string) (literal, loose string, err error) {
	if path == "*" {
		return path, path, nil
	}
	if plain(path) {
		return path, path, nil
	}
	l, s := make([]byte, 0, len(path)), make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c <= ' ' || c == 0x7f || c == '\\' {
			return "", "", ErrPath
		}
		if c != '%' {
			l, s = append(l, c), append(s, c)
			continue
		}
		if i+2 >= len(path) || hex(path[i+1]) < 0 || hex(path[i+2]) < 0 {
			return "", "", ErrPath
		}
		c = byte(hex(path[i+1])<<4 | hex(path[i+2]))
		if c < ' ' || c == 0x7f || c == '\\' || c == '%' && doubled(path[i+3:]) {
			return "", "", ErrPath
		}
		s = append(s, c)
		switch c {
		case '/', ';', '?', '%', '#':
			l = append(l, '%', upper(path[i+1]), upper(path[i+2]))
		default:
			l = append(l, c)
		}
		i += 2
	}
	literal, loose = string(l), settle(string(s))
	if !utf8.Valid(s) || dotted(literal) || dotted(string(s)) || dotted(loose) {
		return "", "", ErrPath
	}
	return literal, loose, nil
}

// plain says that there is one reading only.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%', c == ';', c == '\\', c <= ' ', c >= 0x7f:
			return false
		case c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.'):
			return false
		}
	}
	return true
}

// doubled says that what follows an encoded % makes it an encoding again.
func doubled(rest string) bool {
	return len(rest) >= 2 && hex(rest[0]) >= 0 && hex(rest[1]) >= 0
}

// settle merges slashes and drops parameters.
func settle(path string) string {
	var b strings.Builder
	for rest := path; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		segment, _, _ = strings.Cut(segment, ";")
		if segment != "" {
			b.WriteByte('/')
			b.WriteString(segment)
		}
	}
	if strings.HasSuffix(path, "/") || b.Len() == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// dotted says that a segment is "." or "..", with parameters or without.
func dotted(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}
