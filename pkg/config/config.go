// Package config is the daemon's configuration: one YAML file, CHAPERONE_*
// variables over it, flags over those.
//
// # Why
//
// viper finds and layers the values, and knows nothing of strictness: a key it
// was never told about is silently nothing. The file is therefore read a second time by
// the YAML parser, for places: a complaint names line and column, the key, and
// the one that was meant. The list of settings is written once, in
// settings.go, and makes defaults, variables, flags and that check.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Config is what the daemon, and the verbs that look for it, were told.
type Config struct {
	File          string // that was read; "" when there was none
	StateDir      string
	ControlSocket string
	PinDir        string
	Policy        string // file or directory
	DrainTimeout  time.Duration
	Listen        Listen
	Metrics       Metrics
	Log           Log
	Record        Record
	Hold          Hold
}

// Listen is about the proxy's listeners, one in each network namespace.
type Listen struct {
	Port uint16 // 0: any that is free
}

// Metrics is about the Prometheus endpoint.
type Metrics struct {
	Address string // host:port; "" is off
}

// Log is about the daemon's own log.
type Log struct {
	Level  string // debug info warn error
	Format string // text json
}

// Record is about the record and the session tapes.
type Record struct {
	FlushInterval time.Duration // how old an entry may get before it is on disk, where nobody waits for that
	Quota         int64         // bytes that sessions may take; 0: no limit
}

// Hold is about held requests: defaults where the policy is silent, and limits.
type Hold struct {
	Timeout            time.Duration
	StickyDeny         time.Duration
	PendingPerIdentity int
	PerMinute          int
	LongestScope       time.Duration
}

// Load reads file, environment and flags; flags may be nil. The file is
// --config, or CHAPERONE_CONFIG, or DefaultFile; only the last may be absent.
func Load(flags *pflag.FlagSet) (*Config, error) {
	v := viper.New()
	if err := prepare(v, flags); err != nil {
		return nil, err
	}
	path, chosen := which(flags)
	if err := readFile(v, path, chosen); err != nil {
		if chosen || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		path = ""
	}
	r := &reader{viper: v, file: path}
	c := r.config()
	if err := errors.Join(r.wrong...); err != nil {
		return nil, err
	}
	return c, nil
}

// prepare tells v the defaults, variables and flags of every setting.
func prepare(v *viper.Viper, flags *pflag.FlagSet) error {
	v.SetConfigType("yaml")
	for _, s := range settings() {
		v.SetDefault(s.key, s.value)
		if err := v.BindEnv(s.key, s.variable()); err != nil {
			return err
		}
		if flags == nil {
			continue
		}
		if f := flags.Lookup(s.flag()); f != nil {
			if err := v.BindPFlag(s.key, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// which file to read, and whether somebody chose it.
func which(flags *pflag.FlagSet) (string, bool) {
	if flags != nil {
		if f := flags.Lookup("config"); f != nil && f.Changed {
			return f.Value.String(), true
		}
	}
	if path := os.Getenv("CHAPERONE_CONFIG"); path != "" {
		return path, true
	}
	return DefaultFile, false
}

// readFile checks a configuration file and gives it to v.
func readFile(v *viper.Viper, path string, chosen bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := trusted(file, chosen); err != nil {
		return err
	}
	text, err := readBounded(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := check(path, text); err != nil {
		return err
	}
	return v.ReadConfig(strings.NewReader(text))
}

// trusted refuses a file that anybody can change: who writes it commands the
// daemon. The default file must belong to root or us; one that somebody chose is theirs to choose.
func trusted(file *os.File, chosen bool) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", file.Name())
	case !chosen && owner != 0 && owner != uint32(os.Geteuid()):
		return fmt.Errorf("%s belongs to user %d (chown it to root)", file.Name(), owner)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s can be written by anybody (chmod o-w it)", file.Name())
	}
	return nil
}
