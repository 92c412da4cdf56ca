package rules

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

const routes = `
identities: [{name: bot, expires: 2026-12-31}, {name: forever}, {name: poor}]
targets:
  - {name: wide, protocol: tcp, addresses: ["10.0.0.0/8:*", "[fd00::/8]:*"]}
  - {name: net, protocol: tcp, addresses: ["10.1.0.0/16:*"]}
  - {name: port, protocol: tcp, addresses: ["10.1.0.0/16:5432"]}
  - {name: host, protocol: tcp, addresses: ["db.internal:5432", "DB2.Internal.:*"]}
  - {name: six, protocol: tcp, addresses: ["[fd00::1]:5432"]}
grants:
  - {identity: bot, target: wide, ttl: 2h, approval: none}
  - {identity: bot, target: net}
  - {identity: forever, target: wide, ttl: 7d}
  - {identity: forever, target: net}
`

func TestTarget(t *testing.T) {
	p := parse(t, routes)
	if got := p.Hosts(); !reflect.DeepEqual(got, []string{"db.internal", "db2.internal"}) {
		t.Errorf("hosts %v", got)
	}
	resolved := p.WithAddresses(map[string][]netip.Addr{
		"db.internal":  {netip.MustParseAddr("::ffff:10.1.2.3"), netip.MustParseAddr("192.0.2.1")},
		"db2.internal": {netip.MustParseAddr("192.0.2.1")},
		"other":        {netip.MustParseAddr("192.0.2.9")},
	})
	for _, c := range []struct{ dst, bare, want string }{
		{"10.9.9.9:1", "wide", "wide"},
		{"10.1.9.9:1", "net", "net"},
		{"10.1.9.9:5432", "port", "port"},
		{"10.1.2.3:5432", "port", "host"},
		{"10.1.2.3:5433", "net", "net"},
		{"192.0.2.1:5432", "", "host"},
		{"192.0.2.1:80", "", "host"},
		{"192.0.2.9:80", "", ""},
		{"[::ffff:10.1.9.9]:5432", "port", "port"},
		{"[fd00::1]:5432", "six", "six"},
		{"[fd00::1%eth0]:5432", "six", "six"},
		{"[fd00::2]:5432", "wide", "wide"},
		{"[2001:db8::1]:5432", "", ""},
	} {
		for policy, want := range map[*Policy]string{p: c.bare, resolved: c.want} {
			got := ""
			if target, ok := policy.Target(netip.MustParseAddrPort(c.dst)); ok {
				got = target.Name
			}
			if got != want {
				t.Errorf("%s: got %q, want %q", c.dst, got, want)
			}
		}
	}
	stolen := p.WithAddresses(map[string][]netip.Addr{"db.internal": {netip.MustParseAddr("fd00::1")}})
	if target, _ := stolen.Target(netip.MustParseAddrPort("[fd00::1]:5432")); target.Name != "six" {
		t.Errorf("a name took the place of an address: %s", target.Name)
	}
	if resolved.Generation() != p.Generation() {
		t.Error("addresses changed the generation")
	}
	if _, ok := p.Target(netip.AddrPort{}); ok {
		t.Error("no address leads nowhere")
	}
}

func TestGrant(t *testing.T) {
	p := parse(t, routes)
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) // a date is good to its last second
	for _, c := range []struct {
		name, identity, target string
		now, until             time.Time
		err                    error
	}{
		{"the ttl counts from now", "bot", "wide", noon, noon.Add(2 * time.Hour), nil},
		{"no ttl ends with the identity", "bot", "net", noon, end, nil},
		{"a ttl ends with the identity", "bot", "wide", end.Add(-time.Minute), end, nil},
		{"the last second is good", "bot", "wide", end.Add(-1), end, nil},
		{"expired", "bot", "wide", end, time.Time{}, ErrExpired},
		{"days", "forever", "wide", noon, noon.Add(168 * time.Hour), nil},
		{"never ends", "forever", "net", noon, time.Time{}, nil},
		{"no grant", "poor", "wide", noon, time.Time{}, ErrNoGrant},
		{"no grant on this one", "bot", "six", noon, time.Time{}, ErrNoGrant},
		{"nobody", "nobody", "wide", noon, time.Time{}, ErrUnknownIdentity},
		{"nowhere", "bot", "nowhere", noon, time.Time{}, ErrUnknownTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := p.Grant(c.identity, c.target, c.now)
			if !errors.Is(err, c.err) || !g.Until.Equal(c.until) {
				t.Errorf("got %+v, %v", g, err)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"db.internal:5432": "db.internal:5432", "DB:*": "db:*", "10.0.0.1:1": "10.0.0.1:1", "10.0.0.0/24:65535": "10.0.0.0/24:65535",
		"[::1]:80": "[::1]:80", "[fd00::/8]:*": "[fd00::/8]:*", "[::ffff:10.0.0.1]:5": "10.0.0.1:5", "0.0.0.0/0:*": "0.0.0.0/0:*",
		"[10.0.0.1]:5": "10.0.0.1:5", "a_b.c-d:1": "a_b.c-d:1",
	} {
		a, err := parseAddress(in)
		if err != nil || a.String() != want {
			t.Errorf("%q: got %v, %v; want %s", in, a, err, want)
		}
	}
	for _, bad := range []string{
		"", ":", "db", "db:", "db:0", "db:65536", "db:+5", "db:-5", "db:5 ", ":5", "::1:80", "[::1:80", "::1]:80", "[db]:5", "10.0.0.300:5", "1.2.3:5",
		"10.0.0.1/24:5", "10.0.0.0/33:5", "[::ffff:10.0.0.0/120]:5", "[fe80::1%eth0]:5", "a..b:5", "-a:5", "a b:5", "db*:5", "*:5", "tcp://db:5",
	} {
		if a, err := parseAddress(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, a)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		match        Match
		unit, cgroup string
		want         bool
	}{
		{Match{Unit: "billing.service"}, "billing.service", "/system.slice/billing.service", true},
		{Match{Unit: "billing-*.service"}, "billing-a.service", "/x", true},
		{Match{Unit: "billing.service"}, "", "/x", false},
		{Match{Cgroup: "/a/b"}, "", "/a/b", true},
		{Match{Cgroup: "/a/b"}, "", "/a/b/c", true},
		{Match{Cgroup: "/a/b"}, "", "/a/bc", false},
		{Match{Cgroup: "/a/*/c"}, "", "/a/x/c", true},
		{Match{Cgroup: "/a/*/c"}, "", "/a/x/y/c", false},
		{Match{Cgroup: "/kubepods.slice/**/billing-*"}, "", "/kubepods.slice/burstable/pod1/billing-7/x", true},
		{Match{Cgroup: "/kubepods.slice/**/billing-*"}, "", "/kubepods.slice/billing-7", true},
		{Match{Cgroup: "/kubepods.slice/**/billing-*"}, "", "/system.slice/billing-7", false},
		{Match{Unit: "a", Cgroup: "/b"}, "a", "/c", false},
		{Match{Unit: "a", Cgroup: "/b"}, "a", "/b", true},
		{Match{}, "a", "/b", false},
	} {
		if got := c.match.Selects(c.unit, c.cgroup); got != c.want {
			t.Errorf("%+v on %q %q: %v", c.match, c.unit, c.cgroup, got)
		}
	}
}
