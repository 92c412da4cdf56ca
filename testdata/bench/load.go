package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A load is one kind of work; run does it once on a route and says how many
// units it did, and at what rate per second.
type load struct {
	name string
	unit string // what is counted: statements, connections, MB
	run  func(r route, o options) (count, rate float64, err error)
}

// loads is the table's order. 64 clients take three slices: each brings a session whose beginning is
// another load's number (churn), and a backend that pgbouncer has had warm since the first round.
var loads = []load{
	{"select-only c=1", "statement", pgbench(1, "-S", "-M", "prepared", "-c", "1", "-j", "1")},
	{"select-only c=8", "statement", pgbench(1, "-S", "-M", "prepared", "-c", "8", "-j", "2")},
	{"select-only c=64", "statement", pgbench(3, "-S", "-M", "prepared", "-c", "64", "-j", "2")},
	{"read-write c=8", "transaction", pgbench(1, "-M", "prepared", "-c", "8", "-j", "2")},
	{"churn c=8", "connection", pgbench(1, "-C", "-S", "-c", "8", "-j", "2")},
	{"bulk select", "MB", bulk("select * from bulk")},
	{"bulk select, masked column", "MB", bulk("select * from bulk_pii")},
	{"copy out", "MB", bulk("copy bulk to stdout")},
}

// pgbench runs PostgreSQL's own load generator for so many slices.
func pgbench(slices time.Duration, args ...string) func(route, options) (float64, float64, error) {
	return func(r route, o options) (float64, float64, error) {
		all := append([]string{"-n", "-T", seconds(slices * o.slice), "-h", "127.0.0.1", "-p", strconv.Itoa(r.port), "-U", "postgres"}, args...)
		out, err := r.command("pgbench", append(all, "bench")...).CombinedOutput()
		if err != nil {
			return 0, 0, fmt.Errorf("pgbench by %s: %w\n%s", r.name, err, out)
		}
		return spoken(string(out))
	}
}

// spoken reads the number of transactions and their rate from pgbench's report.
func spoken(report string) (count, rate float64, err error) {
	done := regexp.MustCompile(`transactions actually processed: (\d+)`).FindStringSubmatch(report)
	tps := regexp.MustCompile(`(?m)^tps = ([0-9.]+)`).FindStringSubmatch(report)
	failed := regexp.MustCompile(`number of failed transactions: (\d+)`).FindStringSubmatch(report)
	if done == nil || tps == nil || (failed != nil && failed[1] != "0") {
		return 0, 0, errors.New("pgbench reports failures, or nothing:\n" + report)
	}
	count, _ = strconv.ParseFloat(done[1], 64) // the expressions match numbers only
	rate, _ = strconv.ParseFloat(tps[1], 64)
	return count, rate, nil
}

// bulk repeats one large answer for a slice, read by a client that only counts.
func bulk(sql string) func(route, options) (float64, float64, error) {
	return func(r route, o options) (float64, float64, error) {
		out, err := self(r, "drain", "-port", strconv.Itoa(r.port), "-for", o.slice.String(), sql)
		if err != nil {
			return 0, 0, err
		}
		fields := strings.Fields(out)
		if len(fields) != 2 {
			return 0, 0, fmt.Errorf("drain by %s says %q", r.name, out)
		}
		megabytes, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, 0, err
		}
		took, err := strconv.ParseFloat(fields[1], 64)
		return megabytes, megabytes / took, err
	}
}

// self runs this program as a client on a route.
func self(r route, args ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	out, err := r.command(exe, append([]string{"client"}, args...)...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s by %s: %w\n%s", args[0], r.name, err, failed.Stderr)
	}
	return string(out), err
}
