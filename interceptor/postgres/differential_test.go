package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// twins are two databases of one server that begin each conversation alike: one is reached directly, the
// other one through a proxy.
type twins struct{ direct, proxied *pgx.Conn }

const straight, around = "straight", "around"

func pair(t *testing.T) twins {
	t.Helper()
	open := func(name string) *pgx.Conn {
		if out, err := postgres.psql("create database " + name); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(out, err)
		}
		c, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", postgres.port, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(context.Background()) })
		return c
	}
	return twins{open(straight), open(around)}
}

// anew lets there be the same world in both.
func (b twins) anew(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for _, c := range []*pgx.Conn{b.direct, b.proxied} {
		all.Go(func() {
			if _, err := c.PgConn().Exec(t.Context(), world).ReadAll(); err != nil {
				t.Error(err)
			}
		})
	}
	if all.Wait(); t.Failed() {
		t.FailNow()
	}
}

// both plays a talk on both sides.
func (b twins) both(t *testing.T, w *watched, k talk) (direct, proxied *talker) {
	t.Helper()
	b.anew(t)
	direct = k.play(t, postgres.port, straight, nil)
	return direct, k.play(t, w.port, around, direct.chose)
}

// endings are the reasons for which README lets a session end that the server would go on with, and how
// often they did. No driver's session ends for them.
type endings map[string]int

var allowedEnds = []string{
	"statements behind a copy that failed, and no Sync between",
	"a Sync amid copy data",
	"the client sent more statements where the server reads copy data",
}

// changing is why a COPY of what is masked ends a driver's session too, where anybody changed definitions since it
// was sent, pipelined statements of the session itself as well.
const changing = "definitions changed while a copy began"

// endOf is why a session was ended by the proxy; empty when it was not.
func endOf(said []string) string {
	if len(said) == 0 {
		return ""
	}
	_, why, _ := strings.Cut(said[len(said)-1], `E FATAL 08P01 "chaperone ended this session: protocol violation: `)
	why, _, _ = strings.Cut(why, `"`)
	return why
}

// ended says why the proxy ended or hung up a session that it should not have.
func (n endings) ended(direct, proxied *talker, driven bool) string {
	n["all"]++
	end, theirs := endOf(proxied.said()), direct.said()
	switch {
	case proxied.hangs && !direct.hangs:
		return "hangs"
	case end == "":
		return ""
	case strings.HasPrefix(theirs[len(theirs)-1], "E FATAL"):
		n["as the server ends it"]++
		return ""
	case end != changing && (driven || !slices.Contains(allowedEnds, end)):
		return "ended: " + end
	}
	n[end]++
	return ""
}

// forgotten are errors of the engine for a name that the server has still, since it skipped what gave it up.
var forgotten = []string{`E ERROR 26000 "unnamed prepared statement does not exist"`, `E ERROR 34000 "portal \"\" does not exist"`}

// differ says how two sides of a conversation differ, if they do.
func (n endings) differ(a, b *talker, driven bool) string {
	if why := n.ended(a, b, driven); why != "" {
		return why
	}
	direct, proxied := a.said(), b.said()
	end := endOf(proxied)
	if end != "" {
		proxied = proxied[:len(proxied)-1]
	}
	gone := len(direct) > 0 && strings.HasPrefix(direct[len(direct)-1], "E FATAL")
	if end != "" && gone {
		direct = direct[:len(direct)-1]
	}
	for i := range max(len(direct), len(proxied)) {
		switch {
		case i >= len(proxied) && end != "", i >= len(direct) && end != "" && gone:
			return ""
		case i >= len(direct):
			return "more is said: " + proxied[i]
		case i >= len(proxied):
			return "not said: " + direct[i]
		case direct[i] != proxied[i] && slices.ContainsFunc(forgotten, func(f string) bool { return strings.HasPrefix(proxied[i], f) }):
			n["an unnamed thing is forgotten early"]++
			return ""
		case direct[i] != proxied[i]:
			return "said " + proxied[i] + " for " + direct[i]
		}
	}
	return ""
}

// trial is one way of checking conversations.
type trial struct {
	chatter
	wrong func(t *testing.T, b twins, k talk, driven bool) string
}

// seeds gives the seeds to try: a few, or those of CHAPERONE_DIFFERENTIAL=FIRST:COUNT.
func seeds(t *testing.T) (first, count uint64) {
	first, count = 1, 40
	if said := os.Getenv("CHAPERONE_DIFFERENTIAL"); said != "" {
		if _, err := fmt.Sscanf(said, "%d:%d", &first, &count); err != nil {
			t.Fatal(err)
		}
	}
	return first, count
}

func (r trial) try(t *testing.T) {
	b := pair(t)
	first, count := seeds(t)
	for seed := first; seed < first+count; seed++ {
		r.one(t, b, seed)
	}
}

// one tries the conversation of a seed, and shows a wrong one at its shortest.
func (r trial) one(t *testing.T, b twins, seed uint64) {
	c := r.chatter
	c.Rand = rand.New(rand.NewPCG(seed, 12))
	driven := seed%2 == 0
	k := c.wild(seed)
	if driven {
		k = c.driven(seed)
	}
	wrong := func(k talk) (why string) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { why = r.wrong(t, b, k, driven) })
		return why
	}
	why := wrong(k)
	if why == "" {
		return
	}
	kind, _, _ := strings.Cut(why, " ")
	// Answers depend on how fast two servers are, secrets and denials do not.
	if kind != "leak" && kind != "evaded:" && wrong(k) == "" && wrong(k) == "" {
		t.Logf("seed %d, driven %v: %s, and twice not again", seed, driven, why)
		return
	}
	short := k.shrink(driven, func(k talk) bool { return strings.HasPrefix(wrong(k), kind) })
	t.Errorf("seed %d, driven %v: %s\n%s    again: %s", seed, driven, why, short, wrong(short))
}

const callsAllowed = "-rules:\n  - {name: calls, target: db, when: 'request.kind == \"function-call\"', verdict: allow}\n"

func TestThroughTheProxyTheServerSaysTheSame(t *testing.T) {
	ends := endings{}
	trial{wrong: func(t *testing.T, b twins, k talk, driven bool) string {
		direct, proxied := b.both(t, watch(t, "full", callsAllowed), k)
		return ends.differ(direct, proxied, driven)
	}}.try(t)
	ends.show(t)
}

func (n endings) show(t *testing.T) {
	for why, times := range n {
		t.Logf("%5d %5.1f%% %s", times, 100*float64(times)/float64(n["all"]), why)
	}
}

// tokens are the ways in which a secret may be written.
func tokens() (all [][]byte) {
	pin := binary.BigEndian.AppendUint32(nil, secretPIN)
	for _, s := range [][]byte{[]byte(secretWord), fmt.Append(nil, secretPIN)} {
		back := slices.Clone(s)
		slices.Reverse(back)
		all = append(all, s, back, bytes.ToUpper(s), []byte(hex.EncodeToString(s)))
		for skip := range 3 {
			all = append(all, []byte(base64.StdEncoding.EncodeToString(s[skip:])[:8]))
		}
	}
	return append(all, pin, []byte(hex.EncodeToString(pin)))
}

func leaking(what string, b []byte) string {
	for _, token := range tokens() {
		if at := bytes.Index(b, token); at >= 0 {
			return fmt.Sprintf("leak of %q into %s: %q", token, what, b[max(0, at-60):min(len(b), at+60)])
		}
	}
	return ""
}

const secretPolicy = "-masks:\n  - {name: pii, target: db, columns: [secrets.ssn, secrets.pin], with: redact}\n"

// shows says where a talk shows a secret.
func shows(t *testing.T, b twins, k talk) (why string, direct, proxied *talker) {
	t.Helper()
	w := watch(t, "full", secretPolicy)
	direct, proxied = b.both(t, w, k)
	if why = leaking("what the client got", proxied.raw); why != "" {
		return why, direct, proxied
	}
	for kind := interceptor.TapeKind(0); kind < 16; kind++ {
		if why = leaking(fmt.Sprint("the tape, kind ", kind), []byte(w.tapes.everything(kind))); why != "" {
			return why, direct, proxied
		}
	}
	return "", direct, proxied
}

func TestNoConversationShowsAMaskedValue(t *testing.T) {
	ends := endings{}
	trial{chatter: chatter{masked: true}, wrong: func(t *testing.T, b twins, k talk, driven bool) string {
		why, direct, proxied := shows(t, b, k)
		return cmp.Or(why, ends.ended(direct, proxied, driven))
	}}.try(t)
	ends.show(t)
}

// needless says which row of what nobody masks was hidden: notes alone, or with a constant.
func needless(said []string) string {
	notes := false
	for _, line := range said {
		switch line[0] {
		case '2', 'C', 's', 'I', 'E':
			notes = false
		case 'T':
			notes = regexp.MustCompile(`^T note/16384\.\d+:25,\S+( \?column\?/0\S+)?$`).MatchString(line)
		}
		if line[0] == 'D' && notes && !strings.Contains(line, openWord) {
			return "hidden: " + line
		}
	}
	return ""
}

func TestWhatNobodyMasksIsShown(t *testing.T) {
	trial{chatter: chatter{masked: true, still: true}, wrong: func(t *testing.T, b twins, k talk, driven bool) string {
		why, _, proxied := shows(t, b, k)
		return cmp.Or(why, needless(proxied.said()))
	}}.try(t)
}

func TestNoDenialIsEvaded(t *testing.T) {
	const deny = "-people:\n  - {name: dba, members: [alice]}\nrules:\n  - name: none-of-it\n    target: db\n    when: 'request.effects.exists(e, e.action in [\"drop\", \"truncate\", \"delete\", \"unknown\"])'\n    verdict: deny\n"
	trial{chatter: chatter{evil: true}, wrong: func(t *testing.T, b twins, k talk, driven bool) string {
		b.anew(t)
		proxied := k.play(t, watch(t, "full", deny).port, around, nil)
		var left int
		if err := b.proxied.QueryRow(t.Context(), "select count(*) from public.prey").Scan(&left); err != nil || left != 1 {
			return fmt.Sprintf("evaded: %d %v", left, err)
		}
		if proxied.hangs {
			return "hangs"
		}
		return ""
	}}.try(t)
}
