package flow

import (
	"encoding/json"
	"time"
)

// Span is a duration that is text with its unit outside of the program: "1h30m0s", "12.5ms".
type Span time.Duration

func (s Span) String() string { return time.Duration(s).String() }

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	*s = Span(d)
	return err
}
