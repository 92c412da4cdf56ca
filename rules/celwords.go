package rules

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/common"
)

// told are those of CEL's errors that a person is told: behind the first that is one of
// syntax come others which only follow from it.
func told(all []*common.Error) []*common.Error {
	for i, e := range all {
		if strings.HasPrefix(e.Message, "Syntax error: ") {
			return all[i : i+1]
		}
	}
	return all
}

// saying is one of the parser's messages in plain words; a %s is what it quotes.
type saying struct {
	shape *regexp.Regexp
	what  string
	cure  string
}

var sayings = []saying{
	{regexp.MustCompile(`^mismatched input '<EOF>' expecting`), "the condition ends too early", "something must follow"},
	{regexp.MustCompile(`^no viable alternative at input '.*<EOF>'`), "the condition ends too early", "something must follow"},
	{regexp.MustCompile(`^token recognition error at: '(=) ?'`), "%s alone means nothing", "== compares"},
	{regexp.MustCompile(`^token recognition error at: '(["'].*)'$`), "the text %s has no end", "close the quotes"},
	{regexp.MustCompile(`^token recognition error at: '(.*)'$`), "%s is no part of a condition", ""},
	{regexp.MustCompile(`^(?:extraneous|mismatched) input '((?i:and))' expecting`), "%s is no operator", "&&"},
	{regexp.MustCompile(`^(?:extraneous|mismatched) input '((?i:or))' expecting`), "%s is no operator", "||"},
	{regexp.MustCompile(`^(?:extraneous|mismatched) input '(.*)' expecting`), "%s stands where it cannot", ""},
	{regexp.MustCompile(`^no viable alternative at input '(.*)'`), "%s stands where it cannot", ""},
	{regexp.MustCompile(`^missing '(.*)' at '<EOF>'`), "a %s is missing at the end", ""},
	{regexp.MustCompile(`^missing '(.*)' at `), "a %s is missing", ""},
	{regexp.MustCompile(`^[Ee]xpression recursion limit exceeded`), "the condition is nested too deep", "split the rule"},
}

// celWords puts a message of CEL's into one line of ours, with the cure where one is known.
func celWords(message string) (what, cure string) {
	message = strings.ReplaceAll(message, "\n", " ")
	message = strings.TrimSuffix(message, " (in container '')")
	message, _, _ = strings.Cut(message, " (did you mean") // ours says it once
	message = strings.TrimPrefix(message, "Syntax error: ")
	for _, s := range sayings {
		m := s.shape.FindStringSubmatch(message)
		switch len(m) {
		case 0:
			continue
		case 1:
			return s.what, s.cure
		}
		return fmt.Sprintf(s.what, clip(m[1])), s.cure
	}
	return message, meant(message)
}

var misspelt = regexp.MustCompile(`^(undefined field|undeclared reference to) '([A-Za-z0-9_]+)'`)

// meant is the word that was meant, where CEL's message names one it does not know.
func meant(message string) string {
	m := misspelt.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	known := variables
	if m[1] == "undefined field" {
		known = nil
		for _, o := range objects {
			for _, w := range o.fields {
				known = append(known, w.name)
			}
		}
	}
	return DidYouMean(m[2], known)
}
