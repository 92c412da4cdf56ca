// node-postgres as programs use it.
const { Client, Pool } = require('pg')

async function main() {
  const client = new Client()
  await client.connect()
  await client.query('create table t (id serial primary key, n numeric, j jsonb, b bytea, at timestamptz, s text)')
  for (let i = 0; i < 50; i++) {
    await client.query({ name: 'ins', text: 'insert into t (n, j, b, at, s) values ($1, $2, $3, $4, $5)', values: [i / 8, { i }, Buffer.from([i, 255 - i]), new Date(Date.UTC(2026, 0, 1 + i)), `s'${i}` ] })
  }
  console.log(JSON.stringify((await client.query('select * from t where id = $1', [9])).rows))
  const many = await client.query('select 1 as a; select 2 as b, 3 as c')
  console.log(JSON.stringify(many.map(r => [r.command, r.rows])))
  const binary = await client.query({ text: 'select id, n, s from t order by id limit 3', rowMode: 'array' })
  console.log(JSON.stringify(binary.rows), binary.fields.map(f => f.dataTypeID).join())
  try {
    await client.query('insert into t (id) values (1)')
  } catch (e) {
    console.log(e.code, e.constraint, e.detail)
  }
  await client.query('begin')
  try { await client.query('select 1/0') } catch (e) { console.log(e.code) }
  try { await client.query('select 1') } catch (e) { console.log(e.code) }
  await client.query('rollback')
  const big = await client.query("select i, repeat('x', i % 500) as pad from generate_series(1, 50000) i")
  console.log(big.rowCount, big.rows.reduce((a, r) => a + r.pad.length, 0))
  const rung = new Promise(resolve => client.once('notification', m => resolve(`${m.channel} ${m.payload}`)))
  await client.query('listen bell')
  await client.query("select pg_notify('bell', 'ring')")
  console.log(await rung)
  await client.end()

  const pool = new Pool({ max: 8 })
  const sums = await Promise.all(Array.from({ length: 200 }, (_, i) => pool.query('select $1::int * 2 as n', [i])))
  console.log(sums.reduce((a, r) => a + r.rows[0].n, 0))
  await pool.end()
}

main().catch(e => { console.error(e); process.exit(1) })
