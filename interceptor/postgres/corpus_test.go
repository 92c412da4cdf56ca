//go:build corpus

package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const corpusMasks = `masks:
  - {name: users, target: db, columns: ["public.users.email", "public.users.ssn", "public.users.card", "public.users.phone", "public.users.dob", "public.users.salary", "public.users.pin", "public.users.recovery_id", "public.users.last_ip", "public.users.notes", "public.users.profile", "public.users.addr", "public.users.aliases", "public.users.avatar", "public.users.password_hash", 'public.users."MixedCase"', "public.api_tokens.token", "public.payments.pan"], with: redact}
  - {name: found, target: db, detect: [email, us_ssn, credit_card, phone, jwt, aws_access_key, iban, private_key], with: redact}
`

// TestCorpus runs the checkers of $CORPUS_BIN over the corpora of $CORPUS.
func TestCorpus(t *testing.T) {
	corpus, bin := os.Getenv("CORPUS"), os.Getenv("CORPUS_BIN")
	psql := func(db, file string) {
		out, err := exec.Command("psql", "-X", "-q", "-h", postgres.dir, "-p", fmt.Sprint(postgres.port), "-U", "postgres", "-d", db, "-f", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), "ERROR") {
			t.Log(file, err, string(out))
		}
	}
	must := func(sql string) {
		if _, err := postgres.psql(sql); err != nil {
			t.Fatal(err)
		}
	}
	must("create database leak_tpl")
	psql("leak_tpl", corpus+"/schema.sql")
	must("create database leak_ctl_tpl template leak_tpl")
	psql("leak_ctl_tpl", corpus+"/sanitise.sql")
	must("create database leak template leak_tpl")
	w := watch(t, "full", "-"+corpusMasks)
	addr, admin := fmt.Sprintf("127.0.0.1:%d", w.port), fmt.Sprintf("127.0.0.1:%d", postgres.port)
	out, err := exec.Command(bin+"/leakcheck", "-addr", addr, "-admin", admin, "-corpus", corpus+"/postgres-leak.yaml", "-out", "/tmp/leakbin/leak.json", "-v").CombinedOutput()
	os.WriteFile("/tmp/leakbin/leak.txt", out, 0o644)
	t.Log(err, len(out))
	w = watch(t, "full", "-"+corpusMasks) // a new daemon: what the first one saw renamed stays masked there
	addr = fmt.Sprintf("127.0.0.1:%d", w.port)
	out, err = exec.Command(bin+"/benigncheck", "-addr", addr, "-admin", admin, "-corpus", corpus+"/benign.yaml", "-v").CombinedOutput()
	os.WriteFile("/tmp/leakbin/benign.txt", out, 0o644)
	t.Log(err, len(out))
}
