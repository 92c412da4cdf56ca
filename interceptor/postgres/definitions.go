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
	suspects(),
	`select distinct pg_catalog.convert_to(p.proname::pg_catalog.text, 'UTF8') from pg_catalog.pg_proc p
join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) p.proargtypes[0]
where p.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid and p.pronargs operator(pg_catalog.-) p.pronargdefaults operator(pg_catalog.<=) 1
and t.typtype operator(pg_catalog.=) any (array['c','p','d']::pg_catalog."char"[])`,
	lively(),
	peculiar(),
	generated(),
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

// ofUsers is a condition on a pg_depend d: it is on a function or an operator of users.
func ofUsers() string {
	return `d.refobjid operator(pg_catalog.>=) '16384'::pg_catalog.oid
and (d.refclassid operator(pg_catalog.=) '2617'::pg_catalog.oid or d.refclassid operator(pg_catalog.=) '1255'::pg_catalog.oid
and not (` + fromExtension("1255", "d.refobjid", "d.refobjid") + `))`
}

// has is a query: columns of the rows of a catalog that depend on code of users.
func has(columns, catalog, class, oid string) string {
	return columns + ` from pg_catalog.` + catalog + ` k join pg_catalog.pg_depend d on d.classid operator(pg_catalog.=) '` + class + `'::pg_catalog.oid
and d.objid operator(pg_catalog.=) k.` + oid + ` where k.` + oid + ` operator(pg_catalog.>=) '16384'::pg_catalog.oid and ` + ofUsers()
}

// lively are the relations where writing runs code of users: triggers, defaults, checks,
// indexes and policies; and those whose writing reaches one, as what it is part of or by a
// foreign key's action. With true come those where reading does, by a policy.
func lively() string {
	return `with recursive lively(oid, reads) as (
select ` + has("tgrelid, false", "pg_trigger", "2620", "oid") + `
union select ` + has("adrelid, false", "pg_attrdef", "2604", "oid") + `
union select ` + has("conrelid, false", "pg_constraint", "2606", "oid") + `
union select ` + has("indrelid, false", "pg_index", "1259", "indexrelid") + `
union select ` + has("polrelid, true", "pg_policy", "3256", "oid") + `
union select u.up, false from lively l join (select inhrelid, inhparent from pg_catalog.pg_inherits
union all select conrelid, confrelid from pg_catalog.pg_constraint where contype operator(pg_catalog.=) 'f'::pg_catalog."char"
and not (confdeltype operator(pg_catalog.=) any (array['a','r']::pg_catalog."char"[]) and confupdtype operator(pg_catalog.=) any (array['a','r']::pg_catalog."char"[]))
) u(down, up) on u.down operator(pg_catalog.=) l.oid)
select oid, reads from lively where oid operator(pg_catalog.<>) '0'::pg_catalog.oid`
}

// peculiar are the types whose values run code of users where they are made: domains with such a
// check, types of users with such a cast, and what is made of them; and the relations that have
// one for a row or a column. A cast between two types of the system makes all of them
// peculiar: an empty name.
func peculiar() string {
	const cast = `castfunc operator(pg_catalog.<>) '0'::pg_catalog.oid and k.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid`
	notShipped := ` and not (` + fromExtension("2605", "k.oid", "k.castfunc") + `)`
	return `with recursive peculiar(oid) as (
select b.oid from (select ` + has("contypid", "pg_constraint", "2606", "oid") + `
union select castsource from pg_catalog.pg_cast k where ` + cast + notShipped + `
union select casttarget from pg_catalog.pg_cast k where ` + cast + notShipped + `) b(oid) where b.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
union select m.made from peculiar p join (select typbasetype, oid from pg_catalog.pg_type
union all select typelem, oid from pg_catalog.pg_type where oid operator(pg_catalog.>=) '16384'::pg_catalog.oid
union all select rngsubtype, rngtypid from pg_catalog.pg_range
union all select a.atttypid, c.reltype from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) a.attrelid
where a.attrelid operator(pg_catalog.>=) '16384'::pg_catalog.oid and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
) m(part, made) on m.part operator(pg_catalog.=) p.oid)
select pg_catalog.convert_to(t.typname::pg_catalog.text, 'UTF8'), t.typrelid from peculiar p join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) p.oid
union all select ''::pg_catalog.bytea, '0'::pg_catalog.oid from pg_catalog.pg_cast k where ` + cast + notShipped + `
and castsource operator(pg_catalog.<) '16384'::pg_catalog.oid and casttarget operator(pg_catalog.<) '16384'::pg_catalog.oid`
}

// generated are the columns whose values are computed from others of their row, each with one of these
// at a time; with 0 where it is computed from none. Servers note what they are computed from as that of the
// column or (from 15 on) of its expression.
func generated() string {
	return `select a.attrelid, a.attnum, coalesce(d.refobjsubid, '0'::pg_catalog.int4) from pg_catalog.pg_attribute a
left join pg_catalog.pg_attrdef f on f.adrelid operator(pg_catalog.=) a.attrelid and f.adnum operator(pg_catalog.=) a.attnum
left join pg_catalog.pg_depend d on d.refclassid operator(pg_catalog.=) '1259'::pg_catalog.oid and d.refobjid operator(pg_catalog.=) a.attrelid
and d.refobjsubid operator(pg_catalog.>) 0 and d.refobjsubid operator(pg_catalog.<>) a.attnum
and (d.classid operator(pg_catalog.=) '2604'::pg_catalog.oid and d.objid operator(pg_catalog.=) f.oid
or d.classid operator(pg_catalog.=) '1259'::pg_catalog.oid and d.objid operator(pg_catalog.=) a.attrelid and d.objsubid operator(pg_catalog.=) a.attnum)
where a.attgenerated operator(pg_catalog.<>) ''::pg_catalog."char" and not a.attisdropped`
}
