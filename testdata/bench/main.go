// Command bench measures Chaperone beside no proxy at all, haproxy and pgbouncer, and
// writes docs/benchmarks.md. Run it with `make bench`.
//
// # Why ratios of interleaved rounds
//
// Absolute numbers say more about the machine's neighbours than about a proxy. Every round
// visits every route in a new order for a second or two; the table gives the mean of the
// best quarter of the rounds against the same of the baseline, and the median of the
// per-round ratios. CPU comes from each server's own cgroup.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// options are the command line's.
type options struct {
	rounds int
	slice  time.Duration
	binary string
	out    string
	only   string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	if len(os.Args) > 1 && os.Args[1] == "client" {
		exit(client(os.Args[2:]))
	}
	var o options
	var quick bool
	flag.IntVar(&o.rounds, "rounds", 8, "interleaved rounds")
	flag.DurationVar(&o.slice, "slice", 2*time.Second, "time per measurement")
	flag.StringVar(&o.binary, "chaperone", "bin/chaperone", "the binary to measure; empty measures the other routes only")
	flag.StringVar(&o.out, "o", "docs/benchmarks.md", "where the table goes; empty: only to the terminal")
	flag.StringVar(&o.only, "only", "", "regular expression: only the cases whose name it matches")
	flag.BoolVar(&quick, "quick", false, "two rounds, nothing written: does it run?")
	flag.Parse()
	if quick {
		o.rounds, o.slice, o.out = 2, time.Second, ""
	}
	exit(run(o))
}

func exit(err error) {
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// run builds the bench, measures, tears it down and reports.
func run(o options) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for cgroups and eBPF (hint: sudo make bench)")
	}
	dir, err := os.MkdirTemp("", "chaperone-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if o.binary != "" {
		if o.binary, err = filepath.Abs(o.binary); err != nil {
			return err
		}
	}
	lab, err := openLab(dir, o.binary)
	if err != nil {
		return errors.Join(err, lab.Close())
	}
	report, err := measure(lab, o)
	if err = errors.Join(err, lab.Close()); err != nil {
		return err
	}
	text := report.String()
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}

// seconds spells a slice as pgbench's -T wants it.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second).Seconds())))
}
