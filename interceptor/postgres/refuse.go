package postgres

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"crypto/rand"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/jackc/pgproto3/v2"
)

// refusal is what a client is told in place of the server's own error.
type refusal struct {
	code, message, detail, hint string
}

// What a refusal can be of.
const (
	thisStatement    = "this statement"
	thisFunctionCall = "this function call"
	thisReplication  = "this replication connection"
)

// refusalOf puts an answer to what was asked into PostgreSQL's words.
func refusalOf(a interceptor.Answer, what string) *refusal {
	r := &refusal{code: "42501", message: "chaperone refused " + what, hint: "Ask the owner of the policy."}
	if a.Message != "" {
		r.hint = a.Message
	}
	switch a.Cause {
	case interceptor.ByPerson:
		r.message = "chaperone: an approver denied " + what
	case interceptor.ByTimeout:
		r.code, r.message = "57014", "chaperone: nobody approved "+what+" in time"
		r.hint = "Ask for it again once somebody can approve it."
		if what == thisStatement {
			r.hint = "Send the identical statement again once somebody can approve it."
		}
	case interceptor.ByCancel:
		r.code, r.message = "57014", "canceling statement due to user request"
	case interceptor.ByIgnorance:
		r.message = "chaperone refused " + what + ": it could not be judged or recorded"
	}
	r.detail = "Rule: " + a.Rule
	if a.Rule == "" {
		r.detail = "Rule: (default)"
	}
	if a.Ask != "" {
		r.detail += ", ask " + a.Ask
	}
	return r
}

// refusal puts the answer to a text into PostgreSQL's words. What could not be read may be anything,
// so the first rule that means any of it refused it: that is no matter of permissions.
func (j *judged) refusal() *refusal {
	r := refusalOf(j.answer, thisStatement)
	if j.reading == nil || j.reading.Unread == "" || j.answer.Cause != interceptor.ByRule {
		return r
	}
	why := "PostgreSQL's grammar, as it is known here, does not accept it"
	if j.doubted {
		why = j.reading.Unread
	}
	r.detail = "The statement could not be read (" + why + "), so this rule may mean it. " + r.detail
	r.hint = "Correct the statement if it has a mistake. The rule says: " + r.hint
	return r
}

// refusedConnection is what a client is told that gets no session.
func refusedConnection(a interceptor.Answer) *refusal {
	r := &refusal{code: "42501", message: "chaperone refused this connection", hint: "Ask the owner of the policy."}
	if a.Message != "" {
		r.message += ": " + a.Message
	}
	return r
}

// response is the ErrorResponse.
func (r *refusal) response(dst []byte, severity string) []byte {
	return wire.AppendError(dst, &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: r.code,
		Message: clean(r.message), Detail: clean(r.detail), Hint: clean(r.hint),
	})
}

// clean keeps zero bytes, which end a field, out of a field.
func clean(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// failing is a text that no PostgreSQL grammar accepts: no statement begins with
// an identifier. It is what the server logs in place of the refused one.
func failing(a interceptor.Answer) string {
	rule := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return ' '
	}, a.Rule)
	return "chaperone refused this statement (" + rule + ")"
}

// failingName is a statement name nobody can have prepared.
func failingName() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "chaperone_" + hex.EncodeToString(b[:])
}

// fatal is the last thing a client is told on a session.
func fatal(code, message, hint string) []byte {
	r := &refusal{code: code, message: message, hint: hint}
	return r.response(nil, "FATAL")
}

// refuseOpen tells a client that it gets no session.
func refuseOpen(client net.Conn, code, message, hint string) error {
	if _, err := client.Write(fatal(code, message, hint)); err != nil {
		return fmt.Errorf("%w: %s (the client was gone)", interceptor.ErrRefused, message)
	}
	return fmt.Errorf("%w: %s", interceptor.ErrRefused, message)
}
