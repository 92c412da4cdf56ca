package config

import (
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// DefaultFile is read when no other is named; it need not exist.
const DefaultFile = "/etc/chaperone/chaperone.yaml"

// setting is one thing that can be told. Its key gives its variable
// (CHAPERONE_LOG_LEVEL) and its flag (--log-level).
type setting struct {
	key    string
	value  any // default
	help   string
	common bool // of interest to every verb, not only to the daemon
}

func settings() []setting {
	return []setting{
		{"state_dir", "/var/lib/chaperone", "where record, asks and CA are kept", true},
		{"control_socket", "/run/chaperone/control.sock", "where the daemon is spoken to", true},
		{"pin_dir", "/sys/fs/bpf/chaperone", "where programs and maps are pinned", false},
		{"policy", "/etc/chaperone/policy.d", "policy file or directory", true},
		{"drain_timeout", 30 * time.Second, "how long sessions may end by themselves when the daemon stops", false},
		{"listen.port", 15001, "port of the proxy's listeners on loopback (0: any)", false},
		{"metrics.address", "", "host:port of the Prometheus endpoint (empty: off)", false},
		{"log.level", "info", "debug, info, warn or error", false},
		{"log.format", "text", "text or json", false},
		{"record.flush_interval", 200 * time.Millisecond, "how old an entry may get before it is on disk, where nobody waits for that", false},
		{"record.quota", "0", "how much session recordings may take (10GiB; 0: no limit)", false},
		{"hold.timeout", 10 * time.Minute, "how long a held request waits where its rule does not say", false},
		{"hold.sticky_deny", time.Minute, "how long a denial answers the same request again", false},
		{"hold.pending_per_identity", 20, "how many requests of one identity may wait", false},
		{"hold.per_minute", 60, "how many asks one identity may open in a minute", false},
		{"hold.longest_scope", 24 * time.Hour, "how long an approval may last", false},
	}
}

// variable is CHAPERONE_ and the key. No key is called "port": Kubernetes
// sets CHAPERONE_PORT for a service named chaperone.
func (s setting) variable() string {
	return "CHAPERONE_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

func (s setting) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.key) }

// CommonFlags adds the flags every verb understands: --config and where the daemon is.
func CommonFlags(flags *pflag.FlagSet) {
	flags.String("config", DefaultFile, "configuration file (CHAPERONE_CONFIG)")
	for _, s := range settings() {
		if s.common {
			s.add(flags)
		}
	}
}

// DaemonFlags adds the flags of the daemon's other settings.
func DaemonFlags(flags *pflag.FlagSet) {
	for _, s := range settings() {
		if !s.common {
			s.add(flags)
		}
	}
}

func (s setting) add(flags *pflag.FlagSet) {
	help := s.help + " (" + s.variable() + ")"
	switch value := s.value.(type) {
	case time.Duration:
		flags.Duration(s.flag(), value, help)
	case int:
		flags.Int(s.flag(), value, help)
	case string:
		flags.String(s.flag(), value, help)
	}
}
