package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chaperone.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func flagSet(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	CommonFlags(flags)
	DaemonFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestDefaultsNeedNothing(t *testing.T) {
	c, err := Load(flagSet(t, "--config", write(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		File: c.File, StateDir: "/var/lib/chaperone", ControlSocket: "/run/chaperone/control.sock",
		PinDir: "/sys/fs/bpf/chaperone", Policy: "/etc/chaperone/policy.d", DrainTimeout: 30 * time.Second,
		Listen: Listen{15001}, Log: Log{"info", "text"}, Record: Record{FlushInterval: 200 * time.Millisecond},
		Hold: Hold{10 * time.Minute, time.Minute, 20, 60, 24 * time.Hour},
	}
	if *c != want {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
}

func TestFlagsWinOverVariablesWinOverTheFile(t *testing.T) {
	path := write(t, "log: {level: debug, format: json}\nstate_dir: /from/file\npolicy: /p\nrecord: {quota: 10GiB}\nlisten: {port: 0}\n")
	t.Setenv("CHAPERONE_CONFIG", path)
	t.Setenv("CHAPERONE_LOG_LEVEL", "warn")
	t.Setenv("CHAPERONE_STATE_DIR", "/from/env")
	t.Setenv("CHAPERONE_PORT", "tcp://10.0.0.1:80") // what Kubernetes sets
	c, err := Load(flagSet(t, "--state-dir", "/from/flag", "--hold-timeout", "30s"))
	if err != nil {
		t.Fatal(err)
	}
	if c.File != path || c.StateDir != "/from/flag" || c.Log != (Log{"warn", "json"}) || c.Policy != "/p" ||
		c.Hold.Timeout != 30*time.Second || c.Record.Quota != 10<<30 || c.Listen.Port != 0 {
		t.Errorf("%+v", *c)
	}
	without, err := Load(nil)
	if err != nil || without.StateDir != "/from/env" {
		t.Errorf("%+v, %v", without, err)
	}
}

func TestComplaintsNamePlaceValueAndCure(t *testing.T) {
	for text, want := range map[string]string{
		"stat_dir: /x":                                 `:1:1: unknown setting "stat_dir" (did you mean "state_dir"?)`,
		"log:\n  levl: info":                           `:2:3: unknown setting "log.levl" (did you mean "log.level"?)`,
		"recrod:\n  quota: 1":                          `:1:1: unknown setting "recrod" (did you mean "record"?)`,
		"zebra: 1":                                     `:1:1: unknown setting "zebra" (remove it)`,
		"State_Dir: /x":                                `did you mean "state_dir"?`,
		"log: loud":                                    `:1:6: settings are written as key: value`,
		"state_dir: [a, b]":                            `:1:12: state_dir takes one value`,
		"policy: /a\npolicy: /b":                       `:2:1: "policy" is set twice`,
		"policy: /a\n---\npolicy: /b":                  `more than one document`,
		"a: b: c":                                      `mapping values are not allowed`,
		"log: {level: loud}":                           `log.level: "loud" is not one of debug, info, warn, error`,
		"drain_timeout: soon":                          `drain_timeout: "soon" is no duration`,
		"drain_timeout: 30":                            `no duration (write 30s`,
		"drain_timeout: -1s":                           `not between`,
		"listen: {port: 70000}":                        `listen.port: 70000 is not between 0 and 65535`,
		"listen: {port: http}":                         `listen.port: "http" is no whole number`,
		"metrics: {address: 9464}":                     `metrics.address: "9464" is no host:port`,
		"record: {quota: lots}":                        `record.quota: "lots" is no size`,
		"record: {quota: 9999999999TiB}":               `is no size`,
		"record: {quota: -1}":                          `is no size`,
		"state_dir: ''":                                `state_dir: is empty`,
		"hold: {pending_per_identity: 0}":              `not between 1 and`,
		"control_socket: /" + strings.Repeat("x", 110): `a socket's path has 103 at most`,
	} {
		_, err := Load(flagSet(t, "--config", write(t, text)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestChosenFileMustExist(t *testing.T) {
	if _, err := Load(flagSet(t, "--config", "/nowhere/x.yaml")); err == nil {
		t.Error("no error")
	}
}

func TestFileThatOthersWriteIsRefused(t *testing.T) {
	path := write(t, "policy: /p")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(flagSet(t, "--config", path)); err == nil || !strings.Contains(err.Error(), "written by anybody") {
		t.Errorf("got %v", err)
	}
}

func TestDefaultFileOfAnotherUserIsRefused(t *testing.T) {
	path := write(t, "policy: /p")
	if err := os.Chown(path, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := trusted(file, false); err == nil || !strings.Contains(err.Error(), "belongs to user 1234") {
		t.Errorf("got %v", err)
	}
	if err := trusted(file, true); err != nil {
		t.Errorf("chosen: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("log: {level: info}\nstate_dir: /x\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(_ *testing.T, text string) { _ = check("x.yaml", text) })
}
