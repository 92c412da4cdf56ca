package postgres

import "bytes"

// rereader cuts a text as PostgreSQL's scanner (scan.l) does, to see whether it would cut it
// differently with standard_conforming_strings off, or in an encoding whose characters may end in
// a byte of ASCII. Such a byte is never below 0x30, so no quote, but it may be a backslash.
// What is unusual is in doubt; nothing is guessed.
//
// Where the cuts are the same, what strings say may not be. So the text is written again:
// strings with backslashes as E'...', and those whose bytes, or the text in them, may mean
// something else as a constant. If that reads the same, what they say does not matter.
type rereader struct {
	text    []byte
	at      int
	escapes bool // a backslash may be an escape, or not
	shifty  bool // a byte above 0x7f may begin a longer character, or not
	after   bool // the token before was a string of a kind that a string behind it goes on with
	out     []byte
	copied  int // of text, to out
	why     string
}

const (
	shiftyNames   = "how its characters are read depends on client_encoding"
	shiftyStrings = "where its strings end depends on standard_conforming_strings"
)

// read cuts the whole text.
func (r *rereader) read() doubts {
	for r.at < len(r.text) && r.why == "" {
		r.token()
	}
	if r.why != "" {
		return doubts{why: r.why}
	}
	if r.out == nil {
		return doubts{}
	}
	return doubts{otherwise: string(append(r.out, r.text[r.copied:]...))}
}

// token passes one token, space or comment.
func (r *rereader) token() {
	c, after := r.text[r.at], r.after
	switch {
	case c == ' ' || c >= '\t' && c <= '\r':
		r.at++
		return
	case c == '-' && r.peek(1) == '-':
		r.pass(bytes.IndexAny(r.text[r.at:], "\n\r"), 0)
		return
	case c == '/' && r.peek(1) == '*':
		r.comment()
		return
	}
	r.after = false
	switch {
	case c == '\'' && after:
		r.why = shiftyStrings // it goes on as the string before it began
	case c == '\'':
		r.plain()
	case c == '"':
		r.name()
	case c == '$':
		r.dollar()
	case isWord(c):
		r.word()
	default:
		r.at++
	}
}

func (r *rereader) peek(n int) byte {
	if r.at+n < len(r.text) {
		return r.text[r.at+n]
	}
	return 0
}

// pass goes n bytes on, and more behind them; to the end where n is negative.
func (r *rereader) pass(n, more int) {
	if n < 0 {
		r.at = len(r.text)
		return
	}
	r.at += n + more
}

// comment passes a comment, which nests.
func (r *rereader) comment() {
	for depth := 0; r.at+1 < len(r.text); {
		switch string(r.text[r.at : r.at+2]) {
		case "/*":
			depth++
			r.at += 2
		case "*/":
			depth--
			r.at += 2
		default:
			r.at++
		}
		if depth == 0 {
			return
		}
	}
	r.why = shiftyStrings // it does not end
}

// word passes a name, keyword or number, or the string it is the prefix of.
func (r *rereader) word() {
	from := r.at
	for r.at < len(r.text) && (isWord(r.text[r.at]) || r.text[r.at] == '$') {
		r.at++
	}
	word := r.text[from:r.at]
	if r.shifty && hasHigh(word) {
		r.why = shiftyNames
		return
	}
	if '0' <= word[0] && word[0] <= '9' && bytes.IndexByte(word, '$') >= 0 {
		r.why = shiftyStrings // a number and $...$
		return
	}
	next, prefix := r.peek(0), word[0]|0x20
	switch {
	case next == '\'' && len(word) == 1 && (prefix == 'e' || prefix == 'b' || prefix == 'x'):
		r.special(prefix == 'e')
	case next == '&' && len(word) == 1 && prefix == 'u' && r.peek(1) == '\'':
		r.at++
		r.special(false)
	case next == '\'' && (len(word) > 1 || prefix != 'n'):
		r.why = shiftyStrings // servers differ: 1e'...'
	}
}

// name passes a quoted name. A backslash means nothing in it.
func (r *rereader) name() {
	from := r.at
	n := bytes.IndexByte(r.text[from+1:], '"') // "" is two names to us: all the same
	if r.pass(n, 2); n < 0 {
		r.why = shiftyStrings
	}
	if r.shifty && hasHigh(r.text[from:r.at]) {
		r.why = shiftyNames
	}
}

// plain passes '...', which is E'...' as well where backslashes may be escapes.
func (r *rereader) plain() {
	from, slashes := r.at, false
	if !r.quoted(func(i int) int {
		slashes = true
		if !r.escapes {
			return 1
		}
		if i+1 < len(r.text) && r.text[i+1] == '\'' {
			r.why = shiftyStrings
		}
		return 2
	}) {
		return
	}
	switch {
	case r.shifty && hasHigh(r.text[from:r.at]):
		r.write(from+1, "chaperone", r.at-1)
	case r.escapes && slashes:
		r.write(from, "E", from)
	}
}

// special passes E'...', where backslashes are escapes, or B'...', X'...', U&'...', where they
// are none. What they say is the same in any case, but it may be a text with strings in it.
func (r *rereader) special(escapes bool) {
	from := r.at
	if !r.quoted(func(int) int {
		if escapes {
			return 2
		}
		return 1
	}) {
		return
	}
	r.after = true
	r.constant(from+1, r.at-1)
}

// quoted passes a string from its opening quote to its closing one. slash says of the backslash at
// an offset how many bytes it takes.
func (r *rereader) quoted(slash func(at int) int) bool {
	for i := r.at + 1; i < len(r.text) && r.why == ""; {
		switch c := r.text[i]; {
		case c == '\\' && r.shifty && r.text[i-1] >= 0x80:
			r.why = shiftyStrings // it may be part of a character
		case c == '\\':
			i += slash(i)
		case c == '\'' && i+1 < len(r.text) && r.text[i+1] == '\'':
			i += 2
		case c == '\'':
			r.at = i + 1
			return true
		default:
			i++
		}
	}
	r.why = shiftyStrings
	return false
}

// dollar passes $1, $tag$...$tag$ or a lone $.
func (r *rereader) dollar() {
	end := r.at + 1
	for end < len(r.text) && isWord(r.text[end]) {
		end++
	}
	if r.shifty && hasHigh(r.text[r.at:end]) {
		r.why = shiftyNames
		return
	}
	if c := r.peek(1); end == len(r.text) || r.text[end] != '$' || '0' <= c && c <= '9' {
		r.at++
		return
	}
	tag := r.text[r.at : end+1]
	n := bytes.Index(r.text[end+1:], tag)
	if n < 0 {
		r.why = shiftyStrings
		return
	}
	r.at = end + 1 + n + len(tag)
	r.constant(end+1, end+1+n)
}

// constant writes what a string says as a constant, where it may be a text that is cut differently.
func (r *rereader) constant(from, to int) {
	said := r.text[from:to]
	if r.shifty && hasHigh(said) || r.escapes && bytes.IndexByte(said, '\\') >= 0 {
		r.write(from, "chaperone", to)
	}
}

// write puts s in the place of text[from:to].
func (r *rereader) write(from int, s string, to int) {
	r.out = append(append(r.out, r.text[r.copied:from]...), s...)
	r.copied = to
}

func isWord(c byte) bool {
	return c >= 0x80 || c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
