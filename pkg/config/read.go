package config

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/viper"
)

// reader turns what viper found into values, and collects what is wrong with them.
type reader struct {
	viper *viper.Viper
	file  string
	wrong []error
}

func (r *reader) config() *Config {
	return &Config{
		File:          r.file,
		StateDir:      r.path("state_dir"),
		ControlSocket: r.socket("control_socket"),
		PinDir:        r.path("pin_dir"),
		Policy:        r.path("policy"),
		DrainTimeout:  r.duration("drain_timeout", 0, time.Hour),
		Listen:        Listen{Port: uint16(r.number("listen.port", 0, 65535))},
		Metrics:       Metrics{Address: r.address("metrics.address")},
		Log: Log{
			Level:  r.oneOf("log.level", "debug", "info", "warn", "error"),
			Format: r.oneOf("log.format", "text", "json"),
		},
		Record: Record{
			FlushInterval: r.duration("record.flush_interval", 0, time.Second),
			Quota:         r.size("record.quota"),
		},
		Hold: Hold{
			Timeout:            r.duration("hold.timeout", time.Second, 24*time.Hour),
			StickyDeny:         r.duration("hold.sticky_deny", time.Second, 24*time.Hour),
			PendingPerIdentity: r.number("hold.pending_per_identity", 1, 10000),
			PerMinute:          r.number("hold.per_minute", 1, 100000),
			LongestScope:       r.duration("hold.longest_scope", time.Second, 30*24*time.Hour),
		},
	}
}

func (r *reader) complain(key, format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

func (r *reader) path(key string) string {
	p := r.viper.GetString(key)
	if p == "" {
		r.complain(key, "is empty (name a path)")
		return ""
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		r.complain(key, "%v", err)
	}
	return abs
}

// socketLimit is what sun_path holds, in bytes, less the suffix under which
// the socket is made before it is moved into place, and the closing zero (unix(7)).
const socketLimit = 108 - len(".new") - 1

func (r *reader) socket(key string) string {
	p := r.path(key)
	if len(p) > socketLimit {
		r.complain(key, "is %d bytes long, and a socket's path has %d at most", len(p), socketLimit)
	}
	return p
}

func (r *reader) duration(key string, least, most time.Duration) time.Duration {
	text := r.viper.GetString(key)
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		r.complain(key, "%q is no duration (write 30s, 10m or 2h)", text)
	case d < least || d > most:
		r.complain(key, "%s is not between %s and %s", d, least, most)
	}
	return d
}

func (r *reader) number(key string, least, most int) int {
	text := r.viper.GetString(key)
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		r.complain(key, "%q is no whole number", text)
	case n < least || n > most:
		r.complain(key, "%d is not between %d and %d", n, least, most)
	}
	return n
}

func (r *reader) oneOf(key string, values ...string) string {
	text := r.viper.GetString(key)
	if !slices.Contains(values, text) {
		r.complain(key, "%q is not one of %s", text, strings.Join(values, ", "))
	}
	return text
}

func (r *reader) address(key string) string {
	text := r.viper.GetString(key)
	if text == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		r.complain(key, "%q is no host:port (write 127.0.0.1:9464, or nothing for off)", text)
	}
	return text
}

type unit struct {
	suffix string
	bytes  int64
}

func units() []unit {
	return []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
	}
}

// size reads a number of bytes with a unit: 500MB, 10GiB, 0.
func (r *reader) size(key string) int64 {
	text := strings.TrimSpace(r.viper.GetString(key))
	for _, u := range units() {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.bytes {
			break
		}
		return n * u.bytes
	}
	r.complain(key, "%q is no size (write 500MB, 10GiB, or 0 for no limit)", text)
	return 0
}
