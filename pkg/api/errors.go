package api

import (
	"errors"
	"net/http"

	"github.com/chaperone-dev/chaperone/pkg/approval"
)

// What can be wrong, for a caller who must choose: the functions of a House
// wrap them, and a Client's errors match them with errors.Is.
var (
	ErrRefused     = errors.New("refused")           // exit code 3
	ErrNotFound    = errors.New("not found")         // exit code 4
	ErrInvalid     = errors.New("invalid request")   // exit code 2
	ErrConflict    = errors.New("too late")          // exit code 1
	ErrUnsupported = errors.New("not supported")     // exit code 1
	ErrEnding      = errors.New("the daemon ends")   // exit code 1; another may begin
	ErrNotRunning  = errors.New("no daemon answers") // exit code 1
	ErrRunning     = errors.New("another daemon answers on this socket")
)

// kind ties a sentinel to its name on the wire.
type kind struct {
	err    error
	code   string
	status int
}

// kinds is ordered: the first that an error matches is what it is.
func kinds() []kind {
	return []kind{
		{ErrRefused, "refused", http.StatusForbidden},
		{approval.ErrNotApprover, "refused", http.StatusForbidden},
		{approval.ErrOwnRequest, "refused", http.StatusForbidden},
		{ErrNotFound, "not_found", http.StatusNotFound},
		{approval.ErrUnknown, "not_found", http.StatusNotFound},
		{approval.ErrScope, "invalid", http.StatusBadRequest},
		{ErrInvalid, "invalid", http.StatusBadRequest},
		{ErrConflict, "conflict", http.StatusConflict},
		{approval.ErrResolved, "conflict", http.StatusConflict},
		{ErrEnding, "ending", http.StatusServiceUnavailable},
		{ErrUnsupported, "unsupported", http.StatusNotImplemented},
	}
}

// Error is a failure as the wire carries it: {"code","message","hint"}.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do next, for a `hint:` line
}

func (e *Error) Error() string { return e.Message }

// Is matches the sentinel of e's code.
func (e *Error) Is(target error) bool {
	for _, k := range kinds() {
		if k.code == e.Code && k.err == target {
			return true
		}
	}
	return false
}

// Hint gives an error its next step.
func Hint(err error, hint string) error { return &hinted{err, hint} }

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// HintOf returns an error's next step, "" when it has none.
func HintOf(err error) string {
	var wire *Error
	if errors.As(err, &wire) {
		return wire.Hint
	}
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// onWire turns an error into what is sent, and its status.
func onWire(err error) (*Error, int) {
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			return &Error{Code: k.code, Message: err.Error(), Hint: HintOf(err)}, k.status
		}
	}
	return &Error{Code: "failed", Message: err.Error(), Hint: HintOf(err)}, http.StatusInternalServerError
}
