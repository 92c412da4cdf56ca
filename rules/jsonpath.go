package rules

import (
	"errors"
	"strconv"
	"strings"
)

// The steps of a JSON path that are not keys. A key that is spelt like one is
// refused by ParsePath.
const (
	anyKey   = "*"
	anyDepth = "**"
)

const (
	maxPath  = 32 // steps
	maxDeeps = 3  // of .. in one path: each is tried at every depth
)

// ParsePath reads the part of JSONPath (RFC 9535) that masks use: $, .key,
// ['key'], [0], .*, [*], and ..key for any depth. It returns JSONMask.Path: the keys
// from the root, indexes in decimal, "*" for any key or index, "**" for any depth.
func ParsePath(s string) ([]string, error) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return nil, errors.New("it does not start with $")
	}
	var path []string
	for rest != "" {
		if after, ok := strings.CutPrefix(rest, ".."); ok {
			path = append(path, anyDepth)
			rest = after
			if strings.HasPrefix(rest, ".") {
				return nil, errors.New("three dots in a row")
			}
			if !strings.HasPrefix(rest, "[") {
				rest = "." + rest
			}
			continue
		}
		step, after, err := pathStep(rest)
		if err != nil {
			return nil, err
		}
		path, rest = append(path, step), after
	}
	if len(path) > maxPath || strings.Count(s, "..") > maxDeeps {
		return nil, errors.New("it has too many steps")
	}
	if len(path) == 0 || path[len(path)-1] == anyDepth {
		return nil, errors.New("it names no value")
	}
	return path, nil
}

func pathStep(s string) (step, rest string, err error) {
	if s[0] == '[' {
		return bracketStep(s[1:])
	}
	if s[0] != '.' {
		return "", "", errors.New("a step starts with . or [")
	}
	end := strings.IndexAny(s[1:], ".[")
	if end < 0 {
		end = len(s) - 1
	}
	step, rest = s[1:end+1], s[end+1:]
	if step == "" || step != anyKey && strings.ContainsAny(step, "*?@()]'\"\\ \t\n") {
		return "", "", errors.New("a key with signs in it is written ['key']")
	}
	return step, rest, nil
}

func bracketStep(s string) (step, rest string, err error) {
	if s == "" {
		return "", "", errors.New("a bracket is not closed")
	}
	if quote := s[0]; quote == '\'' || quote == '"' {
		end := strings.IndexByte(s[1:], quote)
		if end < 0 || !strings.HasPrefix(s[end+2:], "]") {
			return "", "", errors.New("a bracket is not closed")
		}
		step, rest = s[1:end+1], s[end+3:]
		if step == "" || step == anyKey || step == anyDepth || strings.ContainsRune(step, '\\') {
			return "", "", errors.New("a key that is empty, a star or escaped is not supported")
		}
		return step, rest, nil
	}
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return "", "", errors.New("a bracket is not closed")
	}
	step, rest = s[:end], s[end+1:]
	if n, err := strconv.ParseUint(step, 10, 31); step != anyKey && (err != nil || strconv.FormatUint(n, 10) != step) {
		return "", "", errors.New("in brackets stands an index, * or a quoted key")
	}
	return step, rest, nil
}

// PathString writes a path that ParsePath reads back.
func PathString(path []string) string {
	var s strings.Builder
	s.WriteByte('$')
	for i, step := range path {
		deep := i > 0 && path[i-1] == anyDepth
		switch {
		case step == anyDepth:
			s.WriteString("..")
		case step == anyKey && deep:
			s.WriteString("*")
		case step == anyKey:
			s.WriteString(".*")
		case strings.Contains(step, "'"):
			s.WriteString(`["` + step + `"]`)
		default:
			s.WriteString("['" + step + "']")
		}
	}
	return s.String()
}
