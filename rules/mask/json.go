package mask

import (
	"bytes"
	"encoding/json"
)

// JSON appends the masked form of one JSON value to dst: text stays text, a number
// a number, an object an object (an empty one). null stays null. What is not
// JSON becomes the text "[masked]".
func (m Mask) JSON(dst, src []byte) []byte {
	src = bytes.TrimSpace(src)
	if len(src) == 0 || !json.Valid(src) {
		return append(dst, `"`+Masked+`"`...)
	}
	if m.Op == Null || src[0] == 'n' {
		return append(dst, "null"...)
	}
	switch src[0] {
	case '"':
		return m.jsonText(dst, src)
	case '{':
		return append(dst, "{}"...)
	case '[':
		return append(dst, "[]"...)
	case 't', 'f':
		return append(dst, "false"...)
	}
	return m.Decimal(dst, src)
}

func (m Mask) jsonText(dst, src []byte) []byte {
	var s string
	if err := json.Unmarshal(src, &s); err != nil {
		return append(dst, `"`+Masked+`"`...)
	}
	quoted, err := json.Marshal(string(m.Text(nil, []byte(s))))
	if err != nil {
		return append(dst, `"`+Masked+`"`...)
	}
	return append(dst, quoted...)
}
