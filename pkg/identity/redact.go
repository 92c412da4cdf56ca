package identity

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

var (
	// secretName is an option, or a program, whose values are secrets.
	secretName = regexp.MustCompile(`(?i)(pass|pwd|secret|token|key|credential|auth|bearer|cookie|session|signature|sig|sas|conn(ection)?[-_]?str(ing)?|dsn)`)
	// optionName is what options are called. None has a capital letter or a digit, which most secrets have.
	optionName = regexp.MustCompile(`^--[a-z][a-z._-]{0,39}$`)
	// subcommand is what stands behind git, docker or vault.
	subcommand = regexp.MustCompile(`^[a-z][a-z-]{0,19}$`)
	// plainValue is a host, a port or a name.
	plainValue = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	// longRun is too long for a part of a name, and may be a key.
	longRun = regexp.MustCompile(`[A-Za-z0-9_]{20,}`)
	// authority is host and port of a URL, and nothing else.
	authority = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
)

// openOptions are those whose values say where a program goes, and as whom.
var openOptions = []string{"--host", "--hostname", "--port", "--dbname", "--database", "--username"}

// wordOptions are options of one dash that are words. Every other word behind one dash
// may be a letter with its value: mysql -phunter.
var wordOptions = []string{"-jar", "-cp", "-classpath", "-config", "-name", "-type", "-help", "-version", "-verbose"}

// schemes are those of URLs that tell where a program goes.
var schemes = []string{"http", "https", "ws", "wss", "grpc", "tcp", "ftp", "ssh", "postgres", "postgresql", "mysql", "redis", "rediss", "mongodb", "mongodb+srv", "amqp", "amqps"}

// Redact returns what of argv is known to be no secret: the program, a
// subcommand, the names of options, paths that exist, a few options' values, and the
// places that URLs name. A list of what looks like a secret was turned down: any
// word may be a password, and every tool has its own way to be given one.
//
// exists says whether a path exists where the process is.
func Redact(argv []string, exists func(path string) bool) []string {
	r := redaction{exists: exists}
	out := make([]string, 0, len(argv))
	for i, arg := range argv {
		switch {
		case i == 0:
			out = append(out, programName(arg))
		case i == 1 && subcommand.MatchString(arg) && !secretName.MatchString(argv[0]):
			out = append(out, arg)
		default:
			out = append(out, r.argument(arg))
		}
	}
	return out
}

// programName is argv[0], less what a process that gives itself a title wrote behind its name.
func programName(arg string) string {
	name, _, titled := strings.Cut(arg, " ")
	switch {
	case strings.ContainsAny(name, "=@") || strings.Contains(name, "://"):
		return redacted
	case titled:
		return name + " " + redacted
	}
	return name
}

// redaction goes through the arguments of one process.
type redaction struct {
	exists func(string) bool
	option string // the option just before, whose value the next argument may be; "": none
}

func (r *redaction) argument(arg string) string {
	before := r.option
	r.option = ""
	switch {
	case secretName.MatchString(before):
		return redacted // whatever it looks like
	case arg == "-", arg == "--":
		return arg
	case strings.HasPrefix(arg, "--"):
		return r.long(arg)
	case strings.HasPrefix(arg, "-"):
		return r.short(before, arg)
	}
	return r.value(before, arg)
}

// long shows --name or --name=value.
func (r *redaction) long(arg string) string {
	name, value, assigned := strings.Cut(arg, "=")
	if !assigned {
		r.option = name
	}
	switch {
	case !optionName.MatchString(name):
		return redacted
	case assigned:
		return name + "=" + r.value(name, value)
	}
	return name
}

// short shows -x, -xVALUE or -word. Behind another option, what is no plain
// option may be that one's value.
func (r *redaction) short(before, arg string) string {
	r.option = arg
	letter := arg[1] >= 'A' && arg[1] <= 'Z' || arg[1] >= 'a' && arg[1] <= 'z'
	switch {
	case letter && len(arg) == 2, slices.Contains(wordOptions, arg):
		return arg
	case !letter || before != "":
		return redacted
	}
	return arg[:2] + r.value(arg, arg[2:])
}

// value shows the value of an option, or what stands alone (option is "").
func (r *redaction) value(option, value string) string {
	switch {
	case value == "":
		return ""
	case secretName.MatchString(option):
		return redacted
	case r.isPath(value):
		return value
	case slices.Contains(openOptions, option) && plainValue.MatchString(value) && !longRun.MatchString(value):
		return value
	}
	return place(value)
}

// isPath says that a value is a file or folder. A bare word is one only with an extension:
// there is a folder for many a word in many a place.
func (r *redaction) isPath(value string) bool {
	return (strings.Contains(value, "/") || filepath.Ext(value) != "") && r.exists(value)
}

// place is what a URL says of where it leads: scheme, host and port. Where the
// host ends is not sure if an @ comes after it: a password may hold a slash.
func place(value string) string {
	scheme, rest, found := strings.Cut(value, "://")
	if !found || !slices.Contains(schemes, scheme) {
		return redacted
	}
	end := strings.IndexAny(rest, `/?#\`)
	if end < 0 {
		end = len(rest)
	}
	user, host := "", rest[:end]
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		user, host = redacted+"@", host[at+1:]
	}
	if !authority.MatchString(host) || strings.Contains(rest[end:], "@") {
		return scheme + "://" + redacted
	}
	path := rest[end:]
	if path != "" && path != "/" {
		path = "/" + redacted
	}
	return scheme + "://" + user + host + path
}
