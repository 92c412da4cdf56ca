package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report is everything that was measured.
type report struct {
	options        options
	loads          []load
	results        results
	connectWithout []float64 // microseconds, per round
	connectWith    []float64
	idle           float64 // KiB per connection
	when           time.Time
}

const preface = `# Benchmarks

Made on %s by ` + "`sudo make bench`" + ` (%d rounds of %s): %d CPUs, Linux %s, %s, %s.
This file is written by that command; edit testdata/bench instead.

Every server runs in its own cgroup on one machine; the client, PostgreSQL and the proxy share its
processors. PostgreSQL runs without fsync. Chaperone runs with rules that look at every
statement, masks (on another table than the one read, except where a row says masked) and full recording.
The others do none of this: the comparison is what it costs to be watched.

Each cell is *best / median*: the mean of the best quarter of the rounds against the same of the
baseline, and the median of the per-round ratios. More is better. Differences under 8 %% mean nothing
(15 %% at 64 clients). CPU is the least of the rounds, per unit. 64 clients get three times as long:
the beginning of a session is what the churn measures.

`

// String is the whole document.
func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, preface, r.when.UTC().Format("2006-01-02"), r.options.rounds, r.options.slice,
		runtime.NumCPU(), kernel(), runtime.Version(), postgresVersion())
	for _, ld := range r.loads {
		r.table(&b, ld)
	}
	if r.options.binary != "" {
		r.goals(&b)
	}
	return b.String()
}

// table writes one load's routes.
func (r *report) table(b *strings.Builder, ld load) {
	fmt.Fprintf(b, "## %s\n\n| route | %s/s | v direct | v haproxy | v pgbouncer | proxy CPU per %s | all CPU per %s |\n|---|---|---|---|---|---|---|\n", ld.name, ld.unit, ld.unit, ld.unit)
	all := r.results[ld.name]
	for _, name := range []string{"direct", "haproxy", "pgbouncer", "chaperone"} {
		s, ok := all[name]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "| %s | %.0f |", name, best(s.rates()))
		for _, base := range []string{"direct", "haproxy", "pgbouncer"} {
			fmt.Fprintf(b, " %s |", compared(s, all[base]))
		}
		fmt.Fprintf(b, " %s | %s |\n", micros(s.lowest(proxyCPU)), micros(s.lowest(allCPU)))
	}
	b.WriteByte('\n')
}

func compared(s, base series) string {
	top, median := ratio(s, base)
	return fmt.Sprintf("%.2f / %.2f", top, median)
}

func micros(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f us", float64(d.Nanoseconds())/1e3)
}

// A goal is one line of the list: what was reached against what is wanted.
type goal struct {
	what    string
	reached float64
	wanted  float64
	atMost  bool
}

// goals writes what was aimed at and what was reached.
func (r *report) goals(b *strings.Builder) {
	b.WriteString("## Goals\n\n| goal | wanted | reached | |\n|---|---|---|---|\n")
	for _, g := range append(r.throughputGoals(), r.otherGoals()...) {
		sign, met := "at least", g.reached >= g.wanted
		if g.atMost {
			sign, met = "at most", g.reached <= g.wanted
		}
		word := "met"
		if !met {
			word = "**falls short**"
		}
		fmt.Fprintf(b, "| %s | %s %.2f | %.2f | %s |\n", g.what, sign, g.wanted, g.reached, word)
	}
}

// throughputGoals are best-quarter ratios.
func (r *report) throughputGoals() []goal {
	var goals []goal
	for _, g := range []struct {
		load, base string
		wanted     float64
	}{
		{"select-only c=1", "pgbouncer", 0.90},
		{"select-only c=8", "pgbouncer", 0.80},
		{"select-only c=64", "pgbouncer", 0.90},
		{"bulk select", "direct", 0.90},
		{"bulk select, masked column", "direct", 0.80},
	} {
		all := r.results[g.load]
		if all == nil {
			continue
		}
		top, _ := ratio(all["chaperone"], all[g.base])
		goals = append(goals, goal{what: g.load + ": throughput v " + g.base, reached: top, wanted: g.wanted})
	}
	return goals
}

// otherGoals are CPU, connect and memory.
func (r *report) otherGoals() []goal {
	goals := []goal{
		{"connect() of a process that is not enrolled, with the programs v without", least(r.connectWith) / least(r.connectWithout), 1.10, true},
		{"KiB of resident memory per idle connection", r.idle, 64, true},
	}
	for _, name := range []string{"select-only c=1", "select-only c=8", "select-only c=64"} {
		if all := r.results[name]; all != nil {
			ours, theirs := all["chaperone"].lowest(proxyCPU), all["pgbouncer"].lowest(proxyCPU)
			goals = append(goals, goal{name + ": proxy CPU per statement v pgbouncer", float64(ours) / float64(theirs), 1.5, true})
		}
	}
	return goals
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of unknown release"
	}
	return strings.TrimSpace(string(text))
}

func postgresVersion() string {
	out, err := exec.Command("psql", "--version").Output()
	if err != nil {
		return "PostgreSQL of unknown version"
	}
	return strings.TrimSpace(string(out))
}
