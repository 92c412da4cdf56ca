#!/usr/bin/env bash
# What people do with psql: meta commands, COPY both ways, cursors, errors,
# transactions, notices, notifications, large values, several statements at once.
set -euo pipefail
run() { psql -X "$@" 2>&1 | sed -E 's/PID [0-9]+/PID N/'; }

run <<'SQL'
create schema shop;
create table shop.goods (id serial primary key, name text not null unique, price numeric(10,2), made timestamptz default '2026-01-01', tags text[], doc jsonb, raw bytea);
insert into shop.goods (name, price, tags, doc, raw) select 'good ' || i, i * 1.25, array['a', i::text], jsonb_build_object('n', i), decode(md5(i::text), 'hex') from generate_series(1, 1000) i;
\d shop.goods
\dt shop.*
\df shop.*
select * from shop.goods where id <= 5;
select 1; select 2 \; select 3;
\gdesc
select count(*), sum(price), min(made), max(tags) from shop.goods;
select * from shop.goods where id = 7 \gx
prepare p(int) as select name from shop.goods where id = $1;
execute p(10);
deallocate p;
\set FETCH_COUNT 50
select id from shop.goods order by id;
\unset FETCH_COUNT
begin;
declare c scroll cursor for select id from shop.goods order by id;
fetch 3 from c;
fetch backward 1 from c;
move 10 in c;
fetch 1 from c;
commit;
begin;
insert into shop.goods (name) values ('good 1');
select 'not reached';
rollback;
begin; savepoint s; select 1/0; rollback to s; select 'after'; commit;
do $$ begin raise notice 'noted %', 1; raise warning 'warned'; end $$;
listen bell;
notify bell, 'ring';
select pg_notify('bell', 'twice');
select length(repeat('x', 3000000));
select repeat('y', 200000) = repeat('y', 200000);
\encoding LATIN1
select 'gr' || chr(252) || 'n' = 'x';
\encoding UTF8
set datestyle = german; select date '2026-11-23'; reset datestyle;
explain (costs off) select * from shop.goods where id = 1;
select * from nowhere;
selec 1;
\copy (select id, name from shop.goods order by id limit 20) to stdout with csv header
copy (select id, raw from shop.goods order by id limit 3) to stdout;
\copy shop.goods (name, price) from stdin with csv
from stdin,1.50
"quoted, with comma",2
\.
select name, price from shop.goods where id > 1000 order by name;
copy shop.goods (name, price) from stdin;
broken	notanumber
\.
select count(*) from shop.goods;
vacuum shop.goods;
SQL
# A large result, by checksum, and a binary COPY out and in.
run -At -c "select i, md5(i::text), repeat('z', i % 300) from generate_series(1, 200000) i" | sha256sum
run -At -c "copy (select * from shop.goods order by id) to stdout (format binary)" | sha256sum
psql -X -c "create table shop.copy (like shop.goods)"
psql -X -c "copy shop.goods to stdout (format binary)" | psql -X -c "copy shop.copy from stdin (format binary)"
run -At -c "select count(*) from (select * from shop.goods except select * from shop.copy) d"
# A cancelled statement says so, and the time it was given.
run -c "set statement_timeout = 100" -c "select pg_sleep(10)" -c "select 'alive'"
(timeout -s INT 1 psql -X -c "select pg_sleep(30)" 2>&1 || true) | grep -c 'canceling statement'
# Wrong database, wrong user.
(psql -X -d nowhere -c 'select 1' 2>&1 || true) | sed -E 's/port [0-9]+/port N/'
(psql -X -U nobody -c 'select 1' 2>&1 || true) | sed -E 's/port [0-9]+/port N/'
