package flow

import (
	"encoding/json"
	"testing"
	"time"
)

func TestASpanIsTextWithItsUnit(t *testing.T) {
	text, err := json.Marshal(Span(90 * time.Minute))
	if err != nil || string(text) != `"1h30m0s"` {
		t.Fatalf("%s, %v", text, err)
	}
	var back Span
	if err := json.Unmarshal(text, &back); err != nil || back != Span(90*time.Minute) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte("5400"), &back); err == nil {
		t.Error("a number without a unit is taken")
	}
}
