package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }

var _ interceptor.Meter = (*Metrics)(nil)

// scraped returns what a real scrape of m's server shows.
func scraped(t *testing.T, m *Metrics) string {
	t.Helper()
	s, err := m.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.Address() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v: %s", res.StatusCode, err, text)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	return string(text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing %s", want)
		}
	}
}

func TestWhatIsCountedIsServed(t *testing.T) {
	at := time.Unix(1700000000, 0)
	m := New(Build{"1.2", "abc", "go1"}, Sources{
		Asks:     func() map[string]int { return map[string]int{"pending": 3} },
		Kernel:   func() (map[string]uint64, error) { return map[string]uint64{"redirected": 7}, nil },
		Canary:   func() (time.Time, bool) { return at, true },
		Failing:  func() map[string]int { return map[string]int{"bot": 2, "other": 0} },
		Policy:   func() Policy { return Policy{Generation: 4, Loaded: at, Rejected: true} },
		Seq:      func() uint64 { return 99 },
		Canaries: func() uint64 { return 6 },
	})
	f := &flow.Flow{ID: "f1", Identity: "bot", Target: "orders", Seen: flow.Inspected}
	m.Flow(f, 1)
	m.Flow(&flow.Flow{ID: "f2", Identity: "bot", Target: "orders", Seen: flow.Inspected}, 1)
	f.Seen = flow.Denied // must not make the gauge negative
	m.Flow(f, -1)
	m.Flow(f, -1)
	m.Request("bot", "orders", flow.Deny)
	m.Bytes("bot", interceptor.Down, 100)
	m.Bytes("bot", interceptor.Down, 11)
	m.Masked("bot", "orders", 5)
	m.Recorded(time.Millisecond)
	m.Refused("no-origin")
	expect(t, scraped(t, m),
		`chaperone_flows{identity="bot",seen="inspected",target="orders"} 1`,
		`chaperone_flows_total{identity="bot",seen="inspected",target="orders"} 2`,
		`chaperone_requests_total{identity="bot",target="orders",verdict="deny"} 1`,
		`chaperone_bytes_total{direction="down",identity="bot"} 111`,
		`chaperone_masked_fields_total{identity="bot",target="orders"} 5`,
		`chaperone_record_wait_seconds_count 1`,
		`chaperone_refused_total{reason="no-origin"} 1`,
		`chaperone_asks{state="pending"} 3`,
		`chaperone_kernel_events_total{event="redirected"} 7`,
		`chaperone_kernel_readable 1`,
		`chaperone_canary_verified_timestamp_seconds 1.7e+09`,
		`chaperone_canary_ok 1`,
		`chaperone_canary_failing{identity="bot"} 2`,
		`chaperone_canary_failing{identity="other"} 0`,
		`chaperone_canary_connections_total 6`,
		`chaperone_policy_generation 4`,
		`chaperone_policy_rejected 1`,
		`chaperone_record_seq 99`,
		`chaperone_build_info{commit="abc",go="go1",version="1.2"} 1`,
	)
}

func TestUnreadableKernelIsSaid(t *testing.T) {
	m := New(Build{}, Sources{Kernel: func() (map[string]uint64, error) { return nil, errors.New("gone") }})
	expect(t, scraped(t, m), "chaperone_kernel_readable 0")
}

func TestNamesAreBounded(t *testing.T) {
	m := New(Build{}, Sources{})
	for i := range most + 50 {
		m.Request(fmt.Sprint("bot", i), "orders", flow.Allow)
	}
	m.Request("bad\xff", "orders", flow.Allow)
	text := scraped(t, m)
	expect(t, text, `chaperone_requests_total{identity="other",target="other",verdict="other"} 52`)
	if n := strings.Count(text, "chaperone_requests_total{"); n != most {
		t.Errorf("%d series", n)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	m := New(Build{}, Sources{})
	count := func() {
		m.Request("bot", "orders", flow.Allow)
		m.Bytes("bot", interceptor.Up, 10)
		m.Masked("bot", "orders", 1)
		m.Recorded(time.Millisecond)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentCountsAreAllThere(t *testing.T) {
	m := New(Build{}, Sources{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				m.Request(fmt.Sprint("bot", i%10), "orders", flow.Allow)
			}
		})
	}
	all.Wait()
	expect(t, scraped(t, m), `chaperone_requests_total{identity="bot3",target="orders",verdict="allow"} 80`)
}
