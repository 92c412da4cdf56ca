package sqlread

import "strings"

// kind is what a token is.
type kind byte

const (
	broken  kind = iota // an unterminated quote or comment: the rest of the text
	word                // an unquoted name or keyword
	quoted              // "name" or U&"name"
	plain               // '...', also N'...', B'...', X'...'
	escape              // E'...'
	unicode             // U&'...'
	dollar              // $tag$...$tag$
	number
	param // $1
	other // one byte of punctuation or operator
)

func (k kind) isString() bool { return k == plain || k == escape || k == unicode || k == dollar }

// token is one token: text[from:to], its content (quotes excluded) text[inner:outer].
type token struct {
	kind                   kind
	from, to, inner, outer int
}

// lexer cuts a text into tokens as PostgreSQL does with standard_conforming_strings
// on. It is for counting, redacting and cutting; effects come from the grammar.
type lexer struct {
	text string
	at   int
	last kind // of the token before
}

// next is the next token; false at the end. A broken token is the last one.
func (l *lexer) next() (token, bool) {
	t, ok := l.cut()
	l.last = t.kind
	return t, ok
}

// cut reads one token.
func (l *lexer) cut() (token, bool) {
	if !l.skip() {
		return l.rest()
	}
	if l.at >= len(l.text) {
		return token{}, false
	}
	c := l.text[l.at]
	switch {
	case c == '\'' && l.last == escape:
		return l.quotes(escape, l.at, '\'') // E'a' <newline> 'b': one string, all of it with escapes
	case c == '\'':
		return l.quotes(plain, l.at, '\'')
	case c == '"':
		return l.quotes(quoted, l.at, '"')
	case c == '$':
		return l.dollars()
	case isDigit(c) || c == '.' && isDigit(l.peek(1)):
		return l.while(number, func(c byte) bool { return isWord(c) || c == '.' })
	case isStart(c):
		return l.name()
	}
	l.at++
	return token{other, l.at - 1, l.at, l.at - 1, l.at}, true
}

func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

// skip passes white space and comments; false on an unterminated comment.
func (l *lexer) skip() bool {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			l.at++
		case c == '-' && l.peek(1) == '-':
			n := strings.IndexAny(l.text[l.at:], "\n\r")
			if n < 0 {
				n = len(l.text) - l.at
			}
			l.at += n
		case c == '/' && l.peek(1) == '*':
			if !l.comment() {
				return false
			}
		default:
			return true
		}
	}
	return true
}

// comment passes a comment, which nests. On failure l stays at its start.
func (l *lexer) comment() bool {
	depth := 0
	for i := l.at; i+1 < len(l.text); {
		switch l.text[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
		default:
			i++
		}
		if depth == 0 {
			l.at = i
			return true
		}
	}
	return false
}

// rest is everything that is left, as a broken token.
func (l *lexer) rest() (token, bool) {
	from := l.at
	l.at = len(l.text)
	return token{broken, from, l.at, from, l.at}, true
}

// quotes reads from the opening quote, which stands at l.at; from is where the
// token began.
func (l *lexer) quotes(k kind, from int, q byte) (token, bool) {
	inner := l.at + 1
	for i := inner; i < len(l.text); i++ {
		switch {
		case l.text[i] == '\\' && k == escape:
			i++
		case l.text[i] == q && i+1 < len(l.text) && l.text[i+1] == q:
			i++
		case l.text[i] == q:
			l.at = i + 1
			return token{k, from, l.at, inner, i}, true
		}
	}
	l.at = from
	return l.rest()
}

// dollars reads $1, $tag$...$tag$ or a lone $.
func (l *lexer) dollars() (token, bool) {
	from := l.at
	if isDigit(l.peek(1)) {
		l.at++
		t, ok := l.while(param, isDigit)
		t.from = from
		return t, ok
	}
	end := from + 1
	for end < len(l.text) && isWord(l.text[end]) {
		end++
	}
	if end >= len(l.text) || l.text[end] != '$' {
		l.at++
		return token{other, from, l.at, from, l.at}, true
	}
	tag := l.text[from : end+1]
	n := strings.Index(l.text[end+1:], tag)
	if n < 0 {
		return l.rest()
	}
	l.at = end + 1 + n + len(tag)
	return token{dollar, from, l.at, end + 1, end + 1 + n}, true
}

func (l *lexer) while(k kind, in func(byte) bool) (token, bool) {
	from := l.at
	for l.at < len(l.text) && in(l.text[l.at]) {
		l.at++
	}
	return token{k, from, l.at, from, l.at}, true
}

// name reads a word, or the string or identifier it is the prefix of.
func (l *lexer) name() (token, bool) {
	from := l.at
	one, two := l.text[from]|0x20, l.peek(1)
	switch {
	case one == 'e' && two == '\'':
		l.at++
		return l.quotes(escape, from, '\'')
	case two == '\'' && (one == 'n' || one == 'b' || one == 'x'):
		l.at++
		return l.quotes(plain, from, '\'')
	case one == 'u' && two == '&' && l.peek(2) == '\'':
		l.at += 2
		return l.quotes(unicode, from, '\'')
	case one == 'u' && two == '&' && l.peek(2) == '"':
		l.at += 2
		return l.quotes(quoted, from, '"')
	}
	return l.while(word, func(c byte) bool { return isWord(c) || c == '$' })
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isStart(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func isWord(c byte) bool  { return isStart(c) || isDigit(c) }

// countTokens counts up to most tokens.
func countTokens(text string, most int) int {
	l, n := lexer{text: text}, 0
	for n < most {
		if _, ok := l.next(); !ok {
			break
		}
		n++
	}
	return n
}
