// Command compat holds Chaperone to its first promise: nothing in the subagent
// changes. Real clients and the test suites of two PostgreSQL drivers run
// once straight against a server and once more under `chaperone run` with a policy
// that allows everything; both must say the same. Run it with `make compat`.
//
// What differs for a reason stands in differences.txt. Anything else fails.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("compat: ")
	binary := flag.String("chaperone", "bin/chaperone", "the binary; empty runs everything straight, twice")
	only := flag.String("only", "", "regular expression: only clients, or the packages whose import path it matches")
	flag.Parse()
	if err := run(*binary, *only); err != nil {
		log.Fatal(err)
	}
}

func run(binary, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for eBPF (hint: sudo make compat)")
	}
	dir, err := os.MkdirTemp("", "chaperone-compat-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if binary != "" {
		if binary, err = filepath.Abs(binary); err != nil {
			return err
		}
	}
	bench, err := openBench(dir, binary)
	if err == nil {
		err = bench.compare(only)
	}
	return errors.Join(err, bench.close())
}

// compare runs both halves and reports all that is wrong, not only the first.
func (b *bench) compare(only string) error {
	var errs []error
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if chosen.MatchString("clients") {
		errs = append(errs, b.clients())
	}
	return errors.Join(append(errs, b.suites(chosen))...)
}

// say tells one line of progress.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
