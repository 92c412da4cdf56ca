package sqlread

import "strings"

// shorten turns a bulk INSERT ... VALUES (...), (...) into the same statement with
// its first tuple only: all the others must be plain constants, so that what is cut
// away can do nothing. False when the text is something else.
func shorten(text string) (string, bool) {
	l := lexer{text: text}
	if t, ok := l.next(); !ok || !strings.EqualFold(text[t.from:t.to], "insert") {
		return "", false
	}
	for depth := 0; ; {
		t, ok := l.next()
		if !ok || t.kind == broken {
			return "", false
		}
		switch s := text[t.from:t.to]; {
		case s == "(":
			depth++
		case s == ")":
			depth--
		case depth == 0 && t.kind == word && strings.EqualFold(s, "values"):
			return cutTuples(&l)
		}
	}
}

// cutTuples reads tuples from behind VALUES and leaves the first and the tail.
func cutTuples(l *lexer) (string, bool) {
	first := 0
	for {
		if !tuple(l) {
			return "", false
		}
		if first == 0 {
			first = l.at
		}
		end := l.at
		t, ok := l.next()
		if !ok || l.text[t.from:t.to] != "," {
			return l.text[:first] + l.text[end:], true
		}
	}
}

// tuple passes one "(constant, constant, ...)".
func tuple(l *lexer) bool {
	t, ok := l.next()
	if !ok || l.text[t.from:t.to] != "(" {
		return false
	}
	for {
		t, ok = l.next()
		switch s := l.text[t.from:t.to]; {
		case !ok || !constant(t, s):
			return false
		case s == ")":
			return true
		}
	}
}

// constant says that a token inside a tuple is a constant, or stands between two.
func constant(t token, s string) bool {
	switch t.kind {
	case plain, escape, number, param:
		return true
	case other:
		return s == "," || s == ")" || s == "-" || s == "+"
	case word:
		return strings.EqualFold(s, "null") || strings.EqualFold(s, "true") ||
			strings.EqualFold(s, "false") || strings.EqualFold(s, "default")
	}
	return false
}
