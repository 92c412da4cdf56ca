package rules

import (
	"strings"
	"testing"
)

const example = `
identities:
  - name: billing-bot
    owner: payments@example.com
    purpose: nightly invoices
    labels: {env: prod}
    expires: 2027-06-30
    match:
      - unit: billing.service
      - cgroup: /kubepods.slice/**/billing-*
    default: deny
    on_failure: closed
  - {name: dpo-bot}
targets:
  - name: orders
    protocol: postgres
    addresses: ["db.internal:5432", "10.0.0.0/24:5432"]
    tls: {upstream: verify-full, ca: /etc/ssl/db-ca.pem}
    record: full
grants:
  - {identity: billing-bot, target: orders, ttl: 1h, approval: none}
rules:
  - name: destructive-needs-a-person
    target: orders
    when: request.effects.exists(e, e.action in ["drop", "truncate"] || (e.action in ["update", "delete"] && !e.bounded))
    verdict: hold
    approvers: [dba]
    timeout: 10m
    message: "ask the on-call DBA"
  - {name: no-shell, target: orders, when: 'request.effects.exists(e, e.action == "execute-host")', verdict: deny}
masks:
  - name: customer-pii
    target: orders
    columns: [public.users.email, "*.ssn"]
    detect: [credit_card, aws_access_key]
    with: partial
    except: [dpo-bot]
people:
  - {name: dba, members: [alice, bob]}
`

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]File{{"policy.yaml", []byte(text)}}, Options{Generation: 1, Key: []byte(strings.Repeat("k", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseTheContractsExample(t *testing.T) {
	p := parse(t, example)
	id, ok := p.Identity("billing-bot")
	if !ok || id.Owner != "payments@example.com" || id.Labels["env"] != "prod" {
		t.Fatalf("identity: %+v", id)
	}
}
