#!/usr/bin/env bash
# pg_dump | pg_restore: the copy is identical to the original.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq <<'SQL'
create type mood as enum ('sad', 'ok');
create table parent (id int primary key, m mood, d date, t text);
create table child (id bigserial, parent int references parent, doc jsonb, raw bytea, span int4range) partition by range (id);
create table child_1 partition of child for values from (0) to (5000);
create table child_2 partition of child default;
insert into parent select i, case when i % 2 = 0 then 'ok' else 'sad' end::mood, date '2026-01-01' + i, E'line\n\ttab \\ ' || i from generate_series(1, 500) i;
insert into child (parent, doc, raw, span) select 1 + i % 500, jsonb_build_object('i', i), decode(repeat(md5(i::text), 3), 'hex'), int4range(i, i + 5) from generate_series(1, 10000) i;
create view sums as select parent, count(*) from child group by 1;
create function twice(int) returns int language sql as 'select $1 * 2';
select lo_from_bytea(0, 'a large object'::bytea) \g /dev/null
SQL
clean() { grep -vE '^(--|\\(un)?restrict|$)' "$1"; }
pg_dump --no-owner >"$dir/first.sql"
createdb compat_copy
pg_dump -Fc | pg_restore -d compat_copy
pg_dump --no-owner -d compat_copy >"$dir/second.sql"
diff <(clean "$dir/first.sql") <(clean "$dir/second.sql") >/dev/null && echo 'custom format: the copy is identical'
dropdb compat_copy
createdb compat_copy
pg_dump -Fd -j 2 -f "$dir/parallel"
pg_restore -j 2 -d compat_copy "$dir/parallel"
pg_dump --no-owner -d compat_copy >"$dir/third.sql"
diff <(clean "$dir/first.sql") <(clean "$dir/third.sql") >/dev/null && echo 'directory format, two jobs: the copy is identical'
pg_dump --inserts --rows-per-insert=100 --no-owner >"$dir/inserts.sql"
dropdb compat_copy
createdb compat_copy
psql -Xq -v ON_ERROR_STOP=1 -d compat_copy -f "$dir/inserts.sql" >/dev/null
psql -XAt -d compat_copy -c "select count(*), md5(string_agg(c::text, '|' order by id)) from child c"
clean "$dir/first.sql" | grep -vE 'lo_|^SELECT pg_catalog' | sha256sum
