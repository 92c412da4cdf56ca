// Package wire knows PostgreSQL's messages, protocols 3.0 to 3.2, as bytes.
//
// # Why
//
// Messages nobody looks at are never decoded: the framing here is five bytes of
// arithmetic. Those that are looked at are decoded by pgproto3/v2, which panics
// on hostile bodies (bare index expressions); so it is called only behind a
// recover, with sizes already capped, and never for BackendKeyData or
// FunctionCall, which it does not know in all their forms. Turned down: pgx's
// living successor of pgproto3, since v2 is a fixed dependency.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// HeaderSize is type byte and length, in bytes.
const HeaderSize = 5

// ErrMalformed says that a message contradicts itself.
var ErrMalformed = errors.New("malformed message")

// Size is the whole message's size in bytes, type byte included. b holds at
// least a header.
//
//	+------+--------------------+-------- - -
//	| type | int32 length       | body
//	+------+--------------------+-------- - -
//	         counts itself and the body
func Size(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b[1:HeaderSize])
	if n < 4 || n > 1<<31-2 {
		return 0, ErrMalformed
	}
	return int(n) + 1, nil
}

// CString splits b behind its first zero byte. ok is false when there is none.
func CString(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, b, false
	}
	return b[:i], b[i+1:], true
}

// Begin appends a message's header to dst; End fills in its length.
func Begin(dst []byte, typ byte) ([]byte, int) {
	return append(dst, typ, 0, 0, 0, 0), len(dst)
}

// End sets the length of the message that was begun at start.
func End(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
	return dst
}

// AppendQuery appends a simple Query.
func AppendQuery(dst []byte, text string) []byte {
	dst, at := Begin(dst, 'Q')
	dst = append(append(dst, text...), 0)
	return End(dst, at)
}

// AppendParse appends a Parse without parameter types.
func AppendParse(dst []byte, name, text string) []byte {
	dst, at := Begin(dst, 'P')
	dst = append(append(dst, name...), 0)
	dst = append(append(dst, text...), 0, 0, 0)
	return End(dst, at)
}

// AppendDescribePortal appends a Describe of a portal.
func AppendDescribePortal(dst []byte, name string) []byte {
	dst, at := Begin(dst, 'D')
	dst = append(append(append(dst, 'P'), name...), 0)
	return End(dst, at)
}

// AppendBindBinary appends a Bind of the portal name to the statement name, without
// parameters and with binary results.
func AppendBindBinary(dst []byte, name string) []byte {
	dst, at := Begin(dst, 'B')
	dst = append(append(dst, name...), 0)
	dst = append(append(dst, name...), 0)
	return End(append(dst, 0, 0, 0, 0, 0, 1, 0, 1), at)
}

// AppendExecute appends an Execute of the whole portal.
func AppendExecute(dst []byte, name string) []byte {
	dst, at := Begin(dst, 'E')
	dst = append(append(dst, name...), 0)
	return End(append(dst, 0, 0, 0, 0), at)
}

// AppendClose appends a Close of a statement ('S') or portal ('P').
func AppendClose(dst []byte, kind byte, name string) []byte {
	dst, at := Begin(dst, 'C')
	dst = append(append(append(dst, kind), name...), 0)
	return End(dst, at)
}
