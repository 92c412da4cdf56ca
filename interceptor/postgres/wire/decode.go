package wire

import (
	"fmt"

	"github.com/jackc/pgproto3/v2"
)

// decode runs a pgproto3 decoder and turns its panic into an error. No value
// of the message gets into the error.
func decode(into interface{ Decode([]byte) error }, body []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrMalformed
		}
	}()
	if into.Decode(body) != nil {
		return fmt.Errorf("%w: %T of %d bytes", ErrMalformed, into, len(body))
	}
	return nil
}

// RowDescription reads the body of a RowDescription into fields that refer to
// it. into is reused.
func RowDescription(into *pgproto3.RowDescription, body []byte) error {
	return decode(into, body)
}

// ErrorFields reads the body of an ErrorResponse or NoticeResponse.
func ErrorFields(body []byte) (*pgproto3.ErrorResponse, error) {
	e := new(pgproto3.ErrorResponse)
	return e, decode(e, body)
}

// Bind reads the body of a Bind message.
func Bind(body []byte) (*pgproto3.Bind, error) {
	b := new(pgproto3.Bind)
	return b, decode(b, body)
}

// DataRow reads the body of a DataRow.
func DataRow(body []byte) ([][]byte, error) {
	var d pgproto3.DataRow
	err := decode(&d, body)
	return d.Values, err
}

// AppendError appends an ErrorResponse.
func AppendError(dst []byte, e *pgproto3.ErrorResponse) []byte {
	return mustEncode(dst, e)
}

// AppendNotice appends a NoticeResponse.
func AppendNotice(dst []byte, e *pgproto3.NoticeResponse) []byte {
	return mustEncode(dst, e)
}

func mustEncode(dst []byte, m interface {
	Encode([]byte) ([]byte, error)
}) []byte {
	out, err := m.Encode(dst)
	if err != nil {
		panic("a message made here cannot be encoded: " + err.Error())
	}
	return out
}
