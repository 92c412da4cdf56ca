package sqlread

import "strings"

// What stands for a secret, and for a program's arguments.
const (
	hidden            = "'***'"
	redactedArguments = "[redacted]"
)

// Redact replaces the secrets of a text: strings behind PASSWORD and names like it,
// passwords in connection strings and URLs, the arguments of password functions, also
// inside bodies and nested strings. Of a program that COPY runs its name is left. What cannot be cut into tokens is hidden from
// the first such word on. It gives the text itself when there is nothing to hide.
func Redact(text string) string { return redact(text, 0) }

// maxNested is how deep bodies inside bodies are looked into.
const maxNested = 3

func redact(text string, nested int) string {
	if !suspicious(text) {
		return text
	}
	if nested > maxNested {
		return "***"
	}
	r := redactor{lexer: lexer{text: text}, nested: nested}
	for {
		t, ok := r.next()
		if !ok {
			break
		}
		r.take(t)
	}
	if r.copied == 0 {
		return text
	}
	r.out.WriteString(text[r.copied:])
	return r.out.String()
}

// redactor walks a text's tokens.
type redactor struct {
	lexer
	out    strings.Builder
	copied int  // text[:copied] has been written
	armed  bool // the next string is a secret
	joined bool // a string ended in a secret's name: what the statement joins to it is secret
	call   bool // a password function's name was just read
	copies bool // the statement has the word COPY
	runs   bool // the next string is a program with its arguments
	named  bool // its name has been read
	depth  int  // parentheses open inside its arguments
	nested int  // bodies around this text
}

// replace writes what stands before from, then with, and goes on behind to.
func (r *redactor) replace(from, to int, with string) {
	r.out.WriteString(r.text[r.copied:from])
	r.out.WriteString(with)
	r.copied = to
}

func (r *redactor) take(t token) {
	s := r.text[t.from:t.to]
	switch {
	case t.kind.isString() && r.runs:
		r.program(t)
	case t.kind == broken && (r.armed || r.joined || r.runs || r.depth > 0):
		r.replace(t.from, t.to, "***")
	case t.kind == broken:
		if at := secretWord(s); at >= 0 {
			r.replace(t.from+at, t.to, "***")
		}
	case t.kind.isString() && (r.armed || r.joined || r.depth > 0):
		r.replace(t.from, t.to, hidden) // stays armed: a string may go on in the next token
	case t.kind.isString():
		r.content(t)
	case t.kind == word || t.kind == quoted:
		r.name(t, s)
	default:
		r.mark(s)
	}
}

// program hides a program's arguments. Its name stays, for those who read what was run; what
// follows in a string that goes on is all hidden.
func (r *redactor) program(t token) {
	in := r.text[t.inner:t.outer]
	name := 0
	for !r.named && name < len(in) && (isWord(in[name]) || in[name] == '/' || in[name] == '.' || in[name] == '-') {
		name++
	}
	r.named = true
	switch {
	case name > 0 && name == len(in):
	case name > 0 && in[name] == ' ':
		r.replace(t.inner+name+1, t.outer, redactedArguments)
	default:
		r.replace(t.inner, t.outer, redactedArguments)
	}
}

// content hides what a string that is not itself a secret carries inside.
func (r *redactor) content(t token) {
	in := r.text[t.inner:t.outer]
	r.joined = t.kind != dollar && (endsSecret(in) || joinsProgram(in))
	switch {
	case len(in) < 64 && secretWord(in) >= 0 && plainName(in):
		r.armed = true // set_config('app.password', '...'), OPTIONS
		return
	case t.kind == dollar:
		if safe := redact(in, r.nested+1); safe != in {
			r.replace(t.inner, t.outer, safe)
		}
		return
	}
	if at := inString(in); at >= 0 {
		r.replace(t.inner+at, t.outer, "***")
	}
}

func plainName(s string) bool {
	for i := range len(s) {
		if !isWord(s[i]) && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

// name looks at a word: whether what follows is a secret.
func (r *redactor) name(t token, s string) {
	lower := asciiLower(s)
	r.copies = lower == "copy" || r.copies
	r.runs, r.named = r.copies && t.kind == word && lower == "program", false
	switch {
	case keepsArmed[lower] && r.armed:
		return
	case strings.HasPrefix(lower, "u&"):
		r.armed = true // spelled with escapes: it may be any word
	default:
		r.armed = secretWord(lower) >= 0
	}
	r.call = passwordFunctions[lower]
}

// mark looks at punctuation.
func (r *redactor) mark(s string) {
	switch {
	case s == "(" && (r.call || r.depth > 0):
		r.depth++
	case s == ")" && r.depth > 0:
		r.depth--
	}
	r.call, r.runs = false, false
	r.copies = r.copies && s != ";"
	r.joined = r.joined && s != ";"
	if r.armed && !strings.Contains("=:,(", s) {
		r.armed = false
	}
}

// keepsArmed are words between a secret's name and its value.
var keepsArmed = map[string]bool{"to": true, "in": true, "any": true, "as": true, "is": true, "like": true, "not": true, "uescape": true}

// passwordFunctions have secrets among their arguments.
var passwordFunctions = map[string]bool{
	"crypt": true, "pgp_sym_encrypt": true, "pgp_sym_decrypt": true, "pgp_sym_encrypt_bytea": true,
	"pgp_sym_decrypt_bytea": true, "pgp_pub_decrypt": true, "pgp_pub_decrypt_bytea": true, "encrypt": true,
	"decrypt": true, "encrypt_iv": true, "decrypt_iv": true, "hmac": true,
}

// secretWords begin or end the names of secrets.
var secretWords = []string{"password", "passwd", "passphrase", "secret", "api_key", "apikey", "api_token", "private_key", "access_key", "auth_token", "access_token"}

// NamesSecret says that a piece of a text names a secret, whose value may follow. Pieces are to overlap by as much as
// a name may have, 32 bytes.
func NamesSecret(piece string) bool { return secretWord(piece) >= 0 }

// secretWord is where a secret's name stands in s, -1 when nowhere.
func secretWord(s string) int {
	for i := range len(s) {
		switch s[i] | 0x20 {
		case 'p', 's', 'a': // how they begin
			if beginsSecret(s[i:]) {
				return i
			}
		}
	}
	return -1
}

func beginsSecret(s string) bool {
	for _, w := range secretWords {
		if beginsFold(s, w) {
			return true
		}
	}
	return false
}

// endsSecret says that s ends in a secret's name, and what may stand between that and its value.
func endsSecret(s string) bool {
	s = strings.TrimRight(s, " \t\r\n=:'\"")
	for _, w := range secretWords {
		if len(s) >= len(w) && beginsFold(s[len(s)-len(w):], w) {
			return true
		}
	}
	return false
}

// beginsFold says that s begins with a word in lower case, in any case. Only ASCII
// letters have cases here: others change their length, and with it every offset.
func beginsFold(s, word string) bool {
	if len(s) < len(word) {
		return false
	}
	for i := range len(word) {
		if c := s[i]; c != word[i] && (c < 'A' || c > 'Z' || c|0x20 != word[i]) {
			return false
		}
	}
	return true
}

// holdsFold says that a word in lower case stands anywhere in s.
func holdsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0] && beginsFold(s[i:], word) {
			return true
		}
	}
	return false
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// inString is where a secret begins inside a string's content: behind password=,
// password: or password ”, or in the user part of a URL; -1 when there is none.
func inString(in string) int {
	for from := 0; ; {
		at := secretWord(in[from:])
		if at < 0 {
			break
		}
		at += from
		end := at
		for end < len(in) && isWord(in[end]) {
			end++
		}
		rest := strings.TrimLeft(in[end:], " \t\r\n\"")
		if rest != "" && strings.IndexByte("=:'$", rest[0]) >= 0 {
			return end
		}
		from = max(end, at+1)
	}
	if at, _ := nestedProgram(in); at >= 0 {
		return at
	}
	return userInfo(in)
}

// nestedProgram is behind the word PROGRAM of a COPY inside a string, where a quote follows; -1 when there
// is none. joined says that the statement puts the program there: behind the end, or for a placeholder.
func nestedProgram(in string) (at int, joined bool) {
	if !holdsFold(in, "copy") {
		return -1, false
	}
	for i := range len(in) {
		if !beginsFold(in[i:], "program") {
			continue
		}
		end := i + len("program")
		rest := strings.TrimLeft(in[end:], " \t\r\n")
		quote := strings.TrimLeft(rest, "eEuU&")
		switch {
		case rest == "" || rest[0] == '%':
			joined = true
		case quote != "" && (quote[0] == '\'' || quote[0] == '$'):
			return end, strings.Trim(quote, "'") == "" // the opening quote is the end
		}
	}
	return -1, joined
}

func joinsProgram(s string) bool {
	_, joined := nestedProgram(s)
	return joined
}

// userInfo is where the password begins in scheme://user:password@host.
func userInfo(in string) int {
	at := strings.Index(in, "://")
	if at < 0 {
		return -1
	}
	rest := in[at+3:]
	host := strings.IndexByte(rest, '@')
	colon := strings.IndexByte(rest, ':')
	if host < 0 || colon < 0 || colon > host {
		return -1
	}
	return at + 3 + colon + 1
}

// suspicious says whether a text is worth cutting into tokens.
func suspicious(text string) bool {
	if strings.Contains(text, "://") || secretWord(text) >= 0 {
		return true
	}
	for _, w := range []string{"crypt", "hmac", "u&", "program"} {
		if holdsFold(text, w) {
			return true
		}
	}
	return false
}
