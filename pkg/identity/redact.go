package identity

import (
	"regexp"
	"strings"
)

const redacted = "[redacted]"

var (
	// secretName is a name whose value is a secret.
	secretName = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|auth(orization)?|bearer|cookie|session|signature|sig|sas|conn(ection)?[-_]?str(ing)?|dsn)`)
	// userinfo is the password in a URL.
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*):[^@\s]*@`)
	// assignment is name=value or name: value inside an argument.
	assignment = regexp.MustCompile(`(?i)([A-Za-z0-9_.-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|authorization|bearer|cookie|signature|sig)[A-Za-z0-9_.-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&;,]+(?:\s+[A-Za-z0-9+/=._-]{8,})?)`)
	// material is what looks like a key or a token wherever it stands.
	material = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[a-z]-[A-Za-z0-9-]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\bglpat-[A-Za-z0-9_-]{16,}|(?i)bearer\s+\S+|(?i)basic\s+[A-Za-z0-9+/=]{8,}`)
	// blob is a long run of one alphabet: more likely a key than a word.
	blob = regexp.MustCompile(`[A-Za-z0-9+/_=-]{40,}`)
	// glued are short options that take a secret without a space (mysql -pSECRET, curl -uUSER:SECRET).
	glued = regexp.MustCompile(`^-([pu])(.+)$`)
)

// Redact returns argv with what may be a secret replaced. It is made to err on
// the side of hiding: the record wants to know which program ran, not its passwords.
func Redact(argv []string) []string {
	out := make([]string, 0, len(argv))
	hideNext := false
	for i, arg := range argv {
		switch {
		case hideNext:
			out = append(out, redacted)
			hideNext = false
		case i > 0 && takesSecret(arg):
			out = append(out, arg)
			hideNext = true
		default:
			out = append(out, redactOne(arg, i > 0))
		}
	}
	return out
}

// takesSecret says that the next argument is a secret.
func takesSecret(arg string) bool {
	if !strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, "= ") {
		return false
	}
	return arg == "-p" || arg == "-u" || arg == "-H" || arg == "--header" || arg == "--user" || secretName.MatchString(arg)
}

func redactOne(arg string, option bool) string {
	if material.MatchString(arg) && len(arg) < 256 {
		return redacted
	}
	if option {
		if m := glued.FindStringSubmatch(arg); m != nil && !strings.HasPrefix(arg, "--") && !plainOption(m[2]) {
			return "-" + m[1] + redacted
		}
	}
	arg = userinfo.ReplaceAllString(arg, "${1}:"+redacted+"@")
	arg = assignment.ReplaceAllString(arg, "${1}"+redacted)
	arg = material.ReplaceAllString(arg, redacted)
	if strings.HasPrefix(arg, "/") {
		return arg // a path is no blob
	}
	return blob.ReplaceAllString(arg, redacted)
}

// plainOption says that what follows -p or -u is a port or a number: psql -p5432.
func plainOption(value string) bool {
	return strings.Trim(value, "0123456789") == "" && len(value) <= 5
}
