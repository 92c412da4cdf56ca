package identity

import (
	"regexp"
	"strings"
)

const redacted = "[redacted]"

var (
	// secretName is a name whose value is a secret.
	secretName = regexp.MustCompile(`(?i)(pass(word|wd|phrase|in|out)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|auth(orization)?|bearer|cookie|session|signature|sig|sas|conn(ection)?[-_]?str(ing)?|dsn)`)
	// userinfo is who stands before the host of a URL: up to the last @, for a password may hold one.
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)(?:([^/\s:@]*):)?\S*@`)
	// assignment is name=value or name: value inside an argument. A value without quotes
	// goes to the next blank, whatever else was meant to end it.
	assignment = regexp.MustCompile(`(?i)([A-Za-z0-9_.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|authorization|bearer|cookie|signature|sig)[A-Za-z0-9_.-]*["']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S+(?:\s+[A-Za-z0-9+/=._-]{8,})?)`)
	// material is what looks like a key or a token wherever it stands.
	material = regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bxox[a-z]-[A-Za-z0-9-]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\bglpat-[A-Za-z0-9_-]{16,}|(?i:bearer\s+\S+)|(?i:basic\s+[A-Za-z0-9+/=]{8,})`)
	// blob is a long run of one alphabet, which may be a key.
	blob = regexp.MustCompile(`[A-Za-z0-9+/_=-]{32,}`)
	// glued are short options with the value in the same word: mysql -pSECRET, ldapsearch -wSECRET.
	glued = regexp.MustCompile(`^-([pPuwakbH])(.+)$`)
	// account is user/password@place, as Oracle's tools take it.
	account = regexp.MustCompile(`^([^/\s@:]+)/[^\s@]+@`)
	// word is what blanks divide.
	word = regexp.MustCompile(`\S+`)
)

// shortSecrets are the short options after which common tools take a secret, a
// header or a cookie: mysql -p, sqlcmd -P, curl -u -H -b, ldapsearch -w, redis-cli -a, openssl -k.
const shortSecrets = "pPuwakbH"

// Redact returns argv with what may be a secret replaced. It is made to err on
// the side of hiding: the record wants to know which program ran, not its passwords.
func Redact(argv []string) []string {
	out := make([]string, 0, len(argv))
	for i, arg := range argv {
		switch {
		case i == 0:
			out = append(out, redactText(arg))
		case i > 1 && takesSecret(argv[i-1]) && !(len(argv[i-1]) == 2 && harmless(arg)):
			out = append(out, redacted)
		default:
			out = append(out, redactWord(arg))
		}
	}
	return out
}

// takesSecret says that the argument after this one is a secret.
func takesSecret(arg string) bool {
	arg = strings.TrimLeft(arg, `"'(`)
	if !strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, "= \t\n") {
		return false
	}
	if len(arg) == 2 {
		return strings.Contains(shortSecrets, arg[1:])
	}
	return arg == "--header" || arg == "--user" || arg == "--proxy-user" || secretName.MatchString(arg)
}

// harmless says that what follows a short option is no secret: a port, a
// number, a path, another option. Only for short ones, which mean other things elsewhere.
func harmless(value string) bool {
	return plainNumber(value) || strings.HasPrefix(value, "/") || strings.HasPrefix(value, "-") && !strings.ContainsAny(value, "=")
}

func plainNumber(s string) bool {
	return strings.Trim(s, "0123456789") == "" && len(s) <= 5
}

// redactWord looks at an argument that is neither the program nor the value of an option.
func redactWord(arg string) string {
	if strings.ContainsAny(arg, " \t\n") {
		return redactLine(redactText(arg))
	}
	bare := strings.TrimLeft(arg, `"'(`)
	if m := glued.FindStringSubmatch(bare); m != nil && gluedSecret(m[1], m[2]) {
		return "-" + m[1] + redacted
	}
	return redactText(account.ReplaceAllString(arg, "${1}/"+redacted+"@"))
}

// gluedSecret says that value may be one. Most words that begin with -a, -b,
// -k or -H are long options or bundles of short ones, in small letters.
func gluedSecret(option, value string) bool {
	if plainNumber(value) {
		return false
	}
	return strings.Contains("pPuw", option) || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz-") != ""
}

// redactLine looks at each word of a command line inside an argument, as in sh -c "...".
func redactLine(line string) string {
	clean := Redact(append([]string{""}, word.FindAllString(line, -1)...))[1:]
	next := 0
	return word.ReplaceAllStringFunc(line, func(string) string {
		next++
		return clean[next-1]
	})
}

// redactText hides what is a secret wherever it stands.
func redactText(text string) string {
	if strings.Contains(text, "PRIVATE KEY") {
		return redacted
	}
	text = userinfo.ReplaceAllStringFunc(text, hideUser)
	text = assignment.ReplaceAllString(text, "${1}"+redacted)
	text = material.ReplaceAllString(text, redacted)
	return blob.ReplaceAllStringFunc(text, func(run string) string {
		if looksRandom(run) {
			return redacted
		}
		return run
	})
}

// hideUser hides the password of a URL; and the name, where there is no
// password: services take tokens there.
func hideUser(url string) string {
	m := userinfo.FindStringSubmatch(url)
	if m[2] == "" {
		return m[1] + redacted + "@"
	}
	return m[1] + m[2] + ":" + redacted + "@"
}

// looksRandom says that a long run is rather a key than a path or a name: hex
// digits only, or capital and small letters and digits mixed.
func looksRandom(run string) bool {
	if strings.Trim(run, "0123456789abcdefABCDEF") == "" {
		return true
	}
	return strings.ContainsAny(run, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(run, "abcdefghijklmnopqrstuvwxyz") &&
		strings.ContainsAny(run, "0123456789")
}
