package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chaperone-dev/chaperone/rules"
)

// How often the policy's files and its host names are looked at again.
const (
	lawEvery     = 2 * time.Second
	resolveEvery = 30 * time.Second
)

// law is the policy in force. A bad edit keeps the old one, and is told to changed.
type law struct {
	path    string
	key     []byte
	log     *slog.Logger
	changed func(generation uint64, err error)

	current atomic.Pointer[rules.Policy]

	mu         sync.Mutex // guards what follows
	generation uint64
	seen       [sha256.Size]byte // digest of the files last tried
	err        error             // of the last try
	loaded     time.Time         // of the policy in force
	resolved   time.Time
	hosts      map[string][]netip.Addr
}

// policy is the one in force; never nil after the first load.
func (l *law) policy() *rules.Policy { return l.current.Load() }

// standing says how the policy stands, for status.
func (l *law) standing() (generation uint64, loaded time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.current.Load(); p != nil {
		generation = p.Generation()
	}
	return generation, l.loaded, l.err
}

// reload reads the files again, and puts them in force if they are right.
func (l *law) reload(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	files, err := readPolicy(l.path)
	l.seen = [sha256.Size]byte{} // what cannot be read now may come back as it was
	if err == nil {
		err = l.try(ctx, files)
	}
	l.err = err
	if l.changed != nil {
		l.changed(l.generation, err)
	}
	return err
}

// try parses files, and puts them in force. mu is held.
func (l *law) try(ctx context.Context, files []rules.File) error {
	l.seen = digest(files)
	p, err := rules.Parse(files, rules.Options{Generation: l.generation + 1, Key: l.key, Certificates: bundle})
	if err != nil {
		return err
	}
	l.generation++
	l.resolve(ctx, p)
	l.current.Store(p.WithAddresses(l.hosts))
	l.loaded = time.Now()
	return nil
}

// resolve looks the policy's host names up. A name that cannot be resolved
// keeps the addresses it had: a target is not lost to a broken resolver. mu is held.
func (l *law) resolve(ctx context.Context, p *rules.Policy) {
	l.resolved = time.Now()
	hosts := map[string][]netip.Addr{}
	for _, host := range p.Hosts() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		cancel()
		if err != nil {
			l.log.Warn("target's name not resolved", "host", host, "err", err)
			found = l.hosts[host]
		}
		hosts[host] = found
	}
	l.hosts = hosts
}

// watch reloads the policy when its files change, until ctx ends.
func (l *law) watch(ctx context.Context) {
	tick := time.NewTicker(lawEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.look(ctx)
		}
	}
}

// look reloads if the files are others than those last tried, and resolves
// names when it is time.
func (l *law) look(ctx context.Context) {
	files, err := readPolicy(l.path)
	l.mu.Lock()
	same := err == nil && digest(files) == l.seen || err != nil && l.err != nil && err.Error() == l.err.Error()
	stale := time.Since(l.resolved) > resolveEvery
	l.mu.Unlock()
	if !same {
		_ = l.reload(ctx) // told to changed
		return
	}
	if stale {
		l.mu.Lock()
		defer l.mu.Unlock()
		p := l.current.Load()
		l.resolve(ctx, p)
		l.current.Store(p.WithAddresses(l.hosts))
	}
}

func digest(files []rules.File) [sha256.Size]byte {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s\x00%d\x00", f.Name, len(f.Data))
		h.Write(f.Data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
