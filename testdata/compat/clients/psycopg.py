"""psycopg2 as programs use it."""
import datetime, decimal, io, json, select, threading, uuid
import psycopg2, psycopg2.errors, psycopg2.extras

psycopg2.extras.register_uuid()
conn = psycopg2.connect("")
cur = conn.cursor()
cur.execute("create table t (id serial primary key, n numeric, d date, u uuid, j jsonb, b bytea, a int[], s text)")
rows = [(decimal.Decimal(i) / 4, datetime.date(2026, 1, 1) + datetime.timedelta(i), uuid.UUID(int=i),
         json.dumps({"i": i}), bytes([i % 256] * 5), [i, None, -i], "s'\\\"%d\u00fc" % i) for i in range(300)]
psycopg2.extras.execute_batch(cur, "insert into t (n, d, u, j, b, a, s) values (%s, %s, %s, %s, %s, %s, %s)", rows)
conn.commit()
cur.execute("select n, d, u, j, b, a, s from t where id = %s", (7,))
print([bytes(v) if isinstance(v, memoryview) else v for v in cur.fetchone()])

named = conn.cursor("server_side")
named.itersize = 37
named.execute("select id from t order by id")
print(sum(r[0] for r in named))
named.close()

out = io.StringIO()
cur.copy_expert("copy (select id, s from t order by id) to stdout csv header", out)
print(len(out.getvalue()), out.getvalue()[:60])
cur.copy_expert("copy t (n, s) from stdin", io.StringIO("".join("%d\tline %d\n" % (i, i) for i in range(5000))))
conn.commit()
cur.execute("select count(*), sum(n) from t")
print(cur.fetchone())

try:
    cur.execute("insert into t (id) values (1)")
except psycopg2.errors.UniqueViolation as e:
    print(e.pgcode, e.diag.constraint_name, e.diag.message_detail)
try:
    cur.execute("select 1")
except psycopg2.errors.InFailedSqlTransaction as e:
    print(e.pgcode)
conn.rollback()

lob = conn.lobject(0, "wb")
lob.write(b"large " * 20000)
lob.close()
print(len(conn.lobject(lob.oid, "rb").read()))
conn.commit()

conn.autocommit = True
cur.execute("listen bell")
other = psycopg2.connect("")
other.autocommit = True
other.cursor().execute("notify bell, 'ring'")
select.select([conn], [], [], 5)
conn.poll()
print([(n.channel, n.payload) for n in conn.notifies])

timer = threading.Timer(0.5, conn.cancel)
timer.start()
try:
    cur.execute("select pg_sleep(30)")
except psycopg2.errors.QueryCanceled as e:
    print(e.pgcode)
cur.execute("select %s", ("still here",))
print(cur.fetchone())
cur.execute("do $$ begin raise notice 'hello'; end $$")
print(conn.notices[-1].strip())
conn.close()

for i in range(30):
    c = psycopg2.connect("")
    with c, c.cursor() as k:
        k.execute("select %s::int", (i,))
        assert k.fetchone() == (i,)
    c.close()
print("done")
