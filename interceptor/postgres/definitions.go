package postgres

// catalogQueries are what a snapshot is made of, asked over the client's own
// connection. Everything is qualified, operators too, and no string holds a backslash: the
// client chooses search_path and standard_conforming_strings. Names come as bytes of UTF-8,
// whatever the client's encoding.
var catalogQueries = []string{
	`select c.oid, pg_catalog.convert_to(n.nspname::pg_catalog.text, 'UTF8'), pg_catalog.convert_to(c.relname::pg_catalog.text, 'UTF8'), c.relkind
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
where c.relkind operator(pg_catalog.<>) all (array['i','I','c']::pg_catalog."char"[])`,
	`select a.attrelid, a.attnum, pg_catalog.convert_to(a.attname::pg_catalog.text, 'UTF8'), a.atttypid, a.atttypmod
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) a.attrelid
where a.attnum operator(pg_catalog.>) 0 and not a.attisdropped and c.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
and c.relkind operator(pg_catalog.=) any (array['r','p','f','v','m']::pg_catalog."char"[])`,
	`select inhrelid, inhparent from pg_catalog.pg_inherits`,
	`select distinct r.ev_class, r.ev_type, d.refclassid, d.refobjid from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d
on d.classid operator(pg_catalog.=) '2618'::pg_catalog.oid and d.objid operator(pg_catalog.=) r.oid
where r.ev_class operator(pg_catalog.>=) '16384'::pg_catalog.oid`,
	`select distinct pg_catalog.convert_to(proname::pg_catalog.text, 'UTF8') from pg_catalog.pg_proc where oid operator(pg_catalog.>=) '16384'::pg_catalog.oid`,
	`select distinct pg_catalog.convert_to(o.oprname::pg_catalog.text, 'UTF8') from pg_catalog.pg_operator o
where o.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid and not (` + fromExtension("2617", "o.oid", "o.oprcode") + `)`,
	`select 1::pg_catalog.int4 from pg_catalog.pg_cast k where k.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
and k.castfunc operator(pg_catalog.<>) '0'::pg_catalog.oid and not (` + fromExtension("2605", "k.oid", "k.castfunc") + `) limit 1`,
	suspects(),
}

// fromExtension is a condition: an object came with an extension, and its function is the
// extension's machine code. Who could bend that needs no SQL any more.
func fromExtension(class, object, function string) string {
	return `exists (select from pg_catalog.pg_depend x join pg_catalog.pg_proc xp on xp.oid operator(pg_catalog.=) ` + function + `
join pg_catalog.pg_language xl on xl.oid operator(pg_catalog.=) xp.prolang
where x.classid operator(pg_catalog.=) '` + class + `'::pg_catalog.oid and x.objid operator(pg_catalog.=) ` + object + `
and x.deptype operator(pg_catalog.=) 'e'::pg_catalog."char" and xl.lanname operator(pg_catalog.=) any (array['c','internal']::pg_catalog.name[]))`
}

// foldedName is a function's name as it is looked for in the bodies of others.
const foldedName = `pg_catalog.lower(pg_catalog.replace(p.proname::pg_catalog.text, '"', '') collate pg_catalog."C")`

// suspects are the functions that may change definitions: those whose body holds a word of DDL,
// or runs text, or that are written in a language that is not read here; and those that
// name one, or depend on one. An empty name says that something else than functions and triggers
// depends on one of them. Nobody changes a definition without such a function: the server has
// no other way to a utility statement.
func suspects() string {
	return `with recursive suspect(oid, name) as (
select p.oid, ` + foldedName + `
from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
where p.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
and not exists (select from pg_catalog.pg_aggregate a where a.aggfnoid::pg_catalog.oid operator(pg_catalog.=) p.oid)
and not (` + fromExtension("1255", "p.oid", "p.oid") + `)
and case when l.lanname operator(pg_catalog.=) any (array['sql','plpgsql']::pg_catalog.name[]) then
p.prosrc collate pg_catalog."C" operator(pg_catalog.~*) '[[:<:]](create|alter|drop|execute|import|call)[[:>:]]|[[:<:]]do[[:>:]](?![[:space:]]+(update|nothing|instead|also)[[:>:]])|u&|_to_xml|ts_stat|ts_rewrite|dblink|crosstab|connectby|xpath_table'
else true end
union
select p.oid, ` + foldedName + `
from suspect s join pg_catalog.pg_proc p on p.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
and (pg_catalog.strpos(pg_catalog.lower(pg_catalog.replace(p.prosrc, '"', '') collate pg_catalog."C"), s.name) operator(pg_catalog.>) 0
or exists (select from pg_catalog.pg_depend d where d.classid operator(pg_catalog.=) '1255'::pg_catalog.oid and d.objid operator(pg_catalog.=) p.oid
and d.refclassid operator(pg_catalog.=) '1255'::pg_catalog.oid and d.refobjid operator(pg_catalog.=) s.oid)))
select pg_catalog.convert_to(p.proname::pg_catalog.text, 'UTF8') from suspect s join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) s.oid
union select ''::pg_catalog.bytea from pg_catalog.pg_depend d join suspect s on d.refobjid operator(pg_catalog.=) s.oid
where d.refclassid operator(pg_catalog.=) '1255'::pg_catalog.oid
and d.classid operator(pg_catalog.<>) all (array['1255','2620']::pg_catalog.oid[])`
}
