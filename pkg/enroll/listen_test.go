package enroll

import "testing"

func TestPortsThatAnybodyGets(t *testing.T) {
	const span = "32768\t60999\n"
	for _, c := range []struct {
		port           uint16
		span, reserved string
		want           bool
	}{
		{15001, span, "\n", false},
		{32767, span, "\n", false},
		{32768, span, "\n", true},
		{60999, span, "\n", true},
		{61000, span, "\n", false},
		{40000, span, "40000\n", false},
		{40000, span, "8080,39990-40010\n", false},
		{40011, span, "8080,39990-40010\n", true},
		{15001, "1024\t65535\n", "", true},
	} {
		if got := isEphemeral(c.port, c.span, c.reserved); got != c.want {
			t.Errorf("port %d of %q without %q: %v", c.port, c.span, c.reserved, got)
		}
	}
	if err := CheckPort(0); err != nil {
		t.Errorf("any port: %v", err)
	}
}
