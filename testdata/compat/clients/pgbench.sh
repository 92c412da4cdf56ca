#!/usr/bin/env bash
# pgbench in its three query modes, pipelined too: everything must arrive.
set -euo pipefail
pgbench -i -q -s 1 >/dev/null 2>&1
for mode in simple extended prepared; do
  pgbench -n -M "$mode" -c 4 -j 2 -t 250 | grep -E 'actually processed|failed'
  pgbench -n -S -M "$mode" -c 16 -j 2 -t 250 | grep -E 'actually processed|failed'
done
pgbench -n -C -S -c 4 -t 25 | grep -E 'actually processed|failed'
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<'SQL'
\startpipeline
begin;
select abalance from pgbench_accounts where aid = 1;
update pgbench_accounts set abalance = abalance + 1 where aid = 1;
select abalance from pgbench_accounts where aid = 1;
commit;
\endpipeline
SQL
for mode in extended prepared; do
  pgbench -n -M "$mode" -f "$script" -c 1 -t 100 | grep -E 'actually processed|failed'
done
psql -XAt -c "select count(*), sum(abalance) = (select sum(tbalance) from pgbench_tellers) + 200 from pgbench_accounts"
