package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"
)

// A reading is one slice of one load on one route.
type reading struct {
	rate     float64       // units per second
	proxyCPU time.Duration // of the proxy, per unit
	allCPU   time.Duration // of client, proxy and server, per unit
}

// series are the readings of one load on one route, one per round.
type series []reading

// results is load name, then route name.
type results map[string]map[string]series

// measure takes all readings and what stands beside them.
func measure(l *lab, o options) (*report, error) {
	chosen, err := choose(o.only)
	if err != nil {
		return nil, err
	}
	rep := &report{options: o, loads: chosen, results: results{}, when: time.Now()}
	if l.binary == "" {
		return rep, rounds(l, o, rep)
	}
	for range o.rounds {
		if err := rep.connects(l); err != nil {
			return nil, err
		}
	}
	if err := l.enroll(); err != nil {
		return nil, err
	}
	if rep.idle, err = idleMemory(l); err != nil {
		return nil, err
	}
	if err := rounds(l, o, rep); err != nil {
		return nil, err
	}
	return rep, l.withdraw()
}

// connects times connect(2) of a process that is not enrolled, without the programs and with them.
func (r *report) connects(l *lab) error {
	without, err := connects(l)
	if err != nil {
		return err
	}
	if err := l.enroll(); err != nil {
		return err
	}
	with, err := connects(l)
	r.connectWithout, r.connectWith = append(r.connectWithout, without), append(r.connectWith, with)
	return errors.Join(err, l.withdraw())
}

// choose filters the loads by name.
func choose(only string) ([]load, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	var chosen []load
	for _, ld := range loads {
		if pattern.MatchString(ld.name) {
			chosen = append(chosen, ld)
		}
	}
	return chosen, nil
}

// rounds visits every route with every load, in a new order each time.
func rounds(l *lab, o options, rep *report) error {
	for round := range o.rounds {
		progress("round %d of %d", round+1, o.rounds)
		for _, ld := range rep.loads {
			for _, i := range rand.Perm(len(l.routes)) {
				r := l.routes[i]
				got, err := l.read(ld, r, o)
				if err != nil {
					return fmt.Errorf("%s: %w", ld.name, err)
				}
				rep.results.add(ld.name, r.name, got)
			}
		}
	}
	return nil
}

func (rs results) add(load, route string, r reading) {
	if rs[load] == nil {
		rs[load] = map[string]series{}
	}
	rs[load][route] = append(rs[load][route], r)
}

// read does one load once and looks at the clocks before and after.
func (l *lab) read(ld load, r route, o options) (reading, error) {
	proxy, all, err := l.clocks(r)
	if err != nil {
		return reading{}, err
	}
	count, rate, err := ld.run(r, o)
	if err != nil {
		return reading{}, err
	}
	proxyAfter, allAfter, err := l.clocks(r)
	if err != nil || count == 0 {
		return reading{}, fmt.Errorf("%.0f done: %w", count, err)
	}
	per := func(d time.Duration) time.Duration { return time.Duration(float64(d) / count) }
	return reading{rate: rate, proxyCPU: per(proxyAfter - proxy), allCPU: per(allAfter - all)}, nil
}

// clocks reads the CPU used so far by the route's proxy, and by all that serve the route.
func (l *lab) clocks(r route) (proxy, all time.Duration, err error) {
	if r.proxy != nil {
		if proxy, err = r.proxy.CPU(); err != nil {
			return 0, 0, err
		}
	}
	server, err := l.postgres.Cgroup.CPU()
	if err != nil {
		return 0, 0, err
	}
	client, err := r.client.CPU()
	return proxy, proxy + server + client, err
}
