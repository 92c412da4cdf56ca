package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// What a transaction set is gone with it, and so is an approval of what names meant then.
func TestAnApprovalEndsWithWhatATransactionSet(t *testing.T) {
	const evil, local = "drop table prey", "set local search_path = elsewhere"
	sync := &pgproto3.Sync{}
	run := func(texts ...string) (all []pgproto3.FrontendMessage) {
		for _, text := range texts {
			all = append(all, parse("", text), bind("", ""), execute(""))
		}
		return append(all, sync)
	}
	for name, c := range map[string]struct {
		before, asked, end, again []pgproto3.FrontendMessage
		same                      bool
	}{
		"nothing was set":    {before: run("begin"), end: run("commit"), same: true},
		"set long before":    {before: run("set search_path = elsewhere"), asked: append(run("begin"), run(evil)...), end: run("commit"), same: true},
		"COMMIT":             {before: append(run("begin"), run(local)...), end: run("commit")},
		"ROLLBACK":           {before: run("begin", "set search_path = elsewhere"), end: run("rollback")},
		"a simple COMMIT":    {before: []pgproto3.FrontendMessage{simple("begin; " + local)}, end: []pgproto3.FrontendMessage{simple("commit")}},
		"ROLLBACK TO":        {before: run("begin", "savepoint a", "set search_path = elsewhere"), end: run("rollback to a")},
		"a Sync":             {asked: run(local, evil)},
		"a Sync, pipelined":  {asked: append(run(local, evil), run(evil)...), again: run("select 1")},
		"a COMMIT skipped":   {before: append(run("begin", "set search_path = elsewhere", "savepoint a", "select 1/0", "commit"), run("rollback to a")...), end: run("rollback")},
		"a cursor that sets": {before: run("begin", "declare c cursor for select set_config('search_path', 'elsewhere', false)"), end: run("fetch c")},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, "full", "")
			f := &forgetful{}
			w.askedBy(f)
			a := attack(t, w, "")
			if c.asked == nil {
				c.asked = run(evil)
			}
			if c.again == nil {
				c.again = run(evil)
			}
			for _, turn := range [][]pgproto3.FrontendMessage{c.before, c.asked, c.end, c.again} {
				a.send(turn...)
				a.until(batches(turn))
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.asked) != 2 || (f.asked[0] == f.asked[1]) != c.same {
				t.Errorf("what was approved covers it: %q", f.asked)
			}
		})
	}
}
