package sqlread

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// told writes effects shortly: "delete orders! (do)", ! for unbounded.
func told(r *Reading) string {
	var all []string
	for _, e := range r.Effects() {
		s := e.Action
		if e.Object != "" {
			s += " " + e.Object
		}
		if len(e.Columns) > 0 {
			s += "(" + strings.Join(e.Columns, ",") + ")"
		}
		if !e.Bounded && (e.Action == flow.Update || e.Action == flow.Delete || e.Action == flow.Merge) {
			s += "!"
		}
		if e.Via != "" {
			s += " by " + e.Via
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

func TestEffects(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"SELECT 1":                        "read",
		`SELECT * FROM "My.Table", S."x"`: `read "My.Table"; read s.x`,
		"WITH users AS (SELECT * FROM users) SELECT * FROM users":                    "read users by cte",
		"WITH RECURSIVE r AS (SELECT 1 UNION SELECT * FROM r) SELECT * FROM r":       "read",
		"WITH a AS (DELETE FROM t) SELECT 1":                                         "delete t! by cte",
		"SELECT (WITH a AS (SELECT f()) SELECT 1)":                                   "execute f by cte",
		"UPDATE t SET a = 1, b = 2 WHERE id = $1":                                    "update t(a,b)",
		"UPDATE t SET a = 1 WHERE $1":                                                "update t(a)!",
		"DELETE FROM t WHERE CURRENT OF c":                                           "delete t",
		"DELETE FROM t WHERE id = id OR id = 3":                                      "delete t!",
		"DELETE FROM t WHERE id = 1 OR true":                                         "delete t!",
		"DELETE FROM t WHERE id = 1 OR id = 2":                                       "delete t",
		"DELETE FROM t WHERE id < 5 OR id >= 5":                                      "delete t!",
		"DELETE FROM t WHERE id = 1 OR NOT id = 1":                                   "delete t!",
		"DELETE FROM t WHERE id IS NULL OR id IS NOT NULL":                           "delete t!",
		"DELETE FROM t WHERE id - id = 0":                                            "delete t!",
		"DELETE FROM t WHERE name LIKE '%%'":                                         "delete t!",
		"DELETE FROM t WHERE name ~ '.*'":                                            "delete t!",
		"DELETE FROM t WHERE name >= ''":                                             "delete t!",
		"DELETE FROM t WHERE id IN (SELECT id FROM t)":                               "delete t!; read t",
		"DELETE FROM t USING u WHERE u.id = 3":                                       "delete t!; read u",
		"DELETE FROM t USING t AS o WHERE o.id = t.id":                               "delete t!; read t",
		"DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND u.x = 1)": "delete t; read u",
		"DELETE FROM t USING (SELECT id FROM public.t) x WHERE x.id = t.id":          "delete t!; read public.t",
		"WITH x AS (SELECT id FROM t) DELETE FROM t USING x WHERE x.id = t.id":       "read t by cte; delete t!",
		"INSERT INTO t (a) SELECT b FROM u":                                          "insert t(a); read u",
		"SELECT a INTO b FROM c":                                                     "create b; read c",
		"CREATE TABLE b AS EXECUTE p":                                                "create b; unknown p by execute",
		"SELECT * FROM a JOIN b USING (id) FOR UPDATE OF b":                          "read a; read b; lock b",
		"SET ROLE x":                                                        "set-role",
		"SELECT set_config('ROLE', 'x', false)":                             "set-role by function",
		"SELECT set_config('ro' || 'le', 'x', false)":                       "set-role by function; session all by function",
		"SELECT set_config('role'::text, 'x', false)":                       "set-role by function",
		"SELECT pg_catalog.set_config('session_authorization', 'x', false)": "set-role by function",
		"SET SESSION AUTHORIZATION x":                                       "set-role",
		"RESET ROLE":                                                        "set-role",
		"SET LOCAL search_path = a":                                         "session search_path",
		"UPDATE pg_settings SET setting = 'x' WHERE name = 'role'":          "update pg_settings(setting); set-role by pg_settings",
		"SELECT nextval('s')":                                               "update s! by function",
		"SELECT pg_read_file('x')":                                          "execute-host pg_read_file by function",
		"SELECT PG_READ_FILE('x')":                                          "execute-host pg_read_file by function",
		"SELECT * FROM pg_ls_dir('.')":                                      "execute-host pg_ls_dir by function",
		"SELECT lower('x'), pg_catalog.upper('y')":                          "read",
		"SELECT public.lower('x')":                                          "execute public.lower",
		"SELECT a OPERATOR(evil.+) b FROM t":                                "execute evil.+; read t",
		"SELECT a ### b, c BETWEEN 1 AND 2, d IN (3) FROM t":                "execute ###; read t",
		"SELECT query_to_xml('DROP TABLE t', true, true, '')":               "unknown query_to_xml by function",
		"EXPLAIN DELETE FROM t":                                             "read t by explain",
		"EXPLAIN SELECT f()":                                                "execute f by explain",
		"EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM t":                      "delete t! by explain-analyze",
		"COPY t TO PROGRAM 'x'":                                             "read t; copy-out t; execute-host copy",
		"COPY t FROM '/x'":                                                  "copy-in t; execute-host copy",
		"COPY (WITH a AS (DELETE FROM t RETURNING 1) SELECT 1) TO STDOUT":   "delete t! by copy; copy-out",
		"PREPARE p AS DELETE FROM t; EXECUTE p":                             "delete t! by prepare; delete t! by execute",
		"EXECUTE p":                                                         "unknown p by execute",
		"DO $$ DECLARE id int; BEGIN DELETE FROM t WHERE id = 1; END $$":    "delete t! by do",
		"DO $$ DECLARE x int := f(); BEGIN x := g(); PERFORM h(); IF k() THEN RAISE NOTICE '%', m(); END IF; END $$": "",
		"DO $$ BEGIN EXECUTE 'x'; END $$":                                "unknown by do",
		"DO LANGUAGE plpython3u 'x'":                                     "execute-host language plpython3u by do; unknown by do",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DROP TABLE t'": "create f",
		"CREATE FUNCTION f() RETURNS int LANGUAGE C AS 'x'":              "create f; execute-host language c",
		"CREATE VIEW v AS SELECT pg_read_file('x') FROM t":               "create v",
		"CREATE MATERIALIZED VIEW v AS SELECT pg_read_file('x')":         "create v; execute-host pg_read_file by function",
		"CREATE INDEX i ON t (f(a))":                                     "create t; execute f",
		"ALTER TABLE t ADD c int DEFAULT f(), DROP COLUMN d":             "alter t; execute f; drop t(d)",
		"CREATE SCHEMA s CREATE TABLE x () GRANT ALL ON x TO PUBLIC":     "create s; create x by schema; grant x by schema",
		"DROP TABLE a.b, c":                                              "drop a.b; drop c",
		"DECLARE c CURSOR FOR SELECT * FROM t":                           "read t by cursor",
		"TRUNCATE a, b":                                                  "truncate a; truncate b",
		"ALTER SYSTEM SET a = 1":                                         "admin a",
		"SELECT pg_terminate_backend(1)":                                 "admin pg_terminate_backend by function",
		"SELECT dblink('x', 'y')":                                        "execute-host dblink by function",
		"CALL p(f())":                                                    "execute p; execute f",
		"LISTEN a":                                                       "session listen",
		"BEGIN":                                                          "transaction BEGIN",
	} {
		r := Read(text)
		if strings.HasPrefix(text, "DO $$ DECLARE x") {
			for _, f := range []string{"f", "g", "h", "k", "m"} {
				if !strings.Contains(told(r), "execute "+f+" by do") {
					t.Errorf("%s: no %s in %s (%s)", text, f, told(r), r.Unread)
				}
			}
			continue
		}
		if got := told(r); got != want {
			t.Errorf("%s\n got %s (%s)\nwant %s", text, got, r.Unread, want)
		}
	}
}

// Every place of a PL/pgSQL body that holds an expression is read.
func TestExpressionsOfAllPLpgSQLStatementsAreRead(t *testing.T) {
	for _, body := range []string{
		"DECLARE r record := evil(); BEGIN NULL; END", "DECLARE r t%ROWTYPE NOT NULL DEFAULT evil(); BEGIN NULL; END",
		"DECLARE a record; b a%TYPE := evil(); BEGIN NULL; END",
		"DECLARE r pg_class := evil(); BEGIN NULL; END", `DECLARE r "record" := evil(); BEGIN NULL; END`, "BEGIN DECLARE r t%rowtype = evil(); BEGIN NULL; END; END",
		"DECLARE c CURSOR FOR SELECT evil(); BEGIN NULL; END",
		"DECLARE c CURSOR (a int) FOR SELECT 1; BEGIN OPEN c(evil()); END", "DECLARE c refcursor; BEGIN OPEN c FOR SELECT evil(); END",
		"DECLARE a int[]; BEGIN a[evil()] := 1; END", "DECLARE a int[]; BEGIN a[1] := evil(); END", "DECLARE r record; BEGIN r.x := evil(); END",
		"BEGIN FOR i IN 1..evil() LOOP NULL; END LOOP; END", "BEGIN FOR i IN 1..2 BY evil() LOOP NULL; END LOOP; END",
		"DECLARE r record; BEGIN FOR r IN SELECT evil() LOOP NULL; END LOOP; END",
		"DECLARE x int; BEGIN FOREACH x IN ARRAY evil() LOOP NULL; END LOOP; END", "BEGIN WHILE evil() LOOP NULL; END LOOP; END",
		"BEGIN LOOP EXIT WHEN evil(); END LOOP; END", "BEGIN LOOP CONTINUE WHEN evil(); END LOOP; END",
		"BEGIN CASE evil() WHEN 1 THEN NULL; END CASE; END", "BEGIN CASE 1 WHEN evil() THEN NULL; END CASE; END",
		"BEGIN CASE 1 WHEN 1 THEN NULL; ELSE PERFORM evil(); END CASE; END", "BEGIN IF true THEN NULL; ELSIF evil() THEN NULL; END IF; END",
		"BEGIN IF true THEN NULL; ELSE PERFORM evil(); END IF; END", "BEGIN ASSERT evil(); END", "BEGIN ASSERT true, evil(); END",
		"BEGIN RAISE EXCEPTION USING message = evil(); END", "BEGIN RAISE NOTICE '%', evil(); END",
		"BEGIN NULL; EXCEPTION WHEN OTHERS THEN PERFORM evil(); END", "BEGIN BEGIN PERFORM evil(); END; END",
		"DECLARE x int; BEGIN SELECT evil() INTO x; END", "DECLARE x int; BEGIN EXECUTE 'a' INTO x USING evil(); END",
		"DECLARE c refcursor; r record; BEGIN FETCH RELATIVE evil() FROM c INTO r; END", "BEGIN CALL evil(); END",
		"DECLARE c CURSOR (a int) FOR SELECT 1; BEGIN FOR r IN c(evil()) LOOP NULL; END LOOP; END",
		"DECLARE x int; BEGIN x = evil(); END", "DECLARE a int[]; BEGIN a[1:evil()] := '{}'; END",
	} {
		r := Read("DO $$ " + body + " $$")
		if s := told(r); !strings.Contains(s, "execute evil") && !strings.Contains(s, flow.Unknown) {
			t.Errorf("%s reads as %s", body, s)
		}
	}
}

func TestUnreadTextsAreUnknown(t *testing.T) {
	for name, text := range map[string]string{
		"not SQL": "SELEKT 1", "a NUL byte": "SELECT 1\x00; DROP TABLE t", "invalid UTF-8": "SELECT '\xff'",
		"too long":             "SELECT '" + strings.Repeat("x", maxText) + "'; SELECT 1" + strings.Repeat("+1", maxTokens),
		"an insert that calls": "INSERT INTO t VALUES (1)" + strings.Repeat(", (2)", 9000) + ", (f())",
		"an insert with a continued escape string": "INSERT INTO t VALUES ('a')" + strings.Repeat(", (2)", 9000) + ", (E'a'\n'\\'', (f()), '')",
	} {
		r := Read(text)
		if r.Unread == "" || !r.Changes || !strings.Contains(told(r), flow.Unknown) {
			t.Errorf("%s: %q %v %s", name, r.Unread, r.Changes, told(r))
		}
	}
}

func TestSettingsThatChangeTheLexer(t *testing.T) {
	plain, slash, wide := "SELECT 'a'", `SELECT '\'`, "SELECT 'あ'"
	on := Setting{StdStrings: true}
	for _, c := range []struct {
		text string
		s    Setting
		ok   bool
	}{
		{plain, Setting{}, true}, {slash, on, true}, {slash, Setting{}, false},
		{wide, on, true}, {wide, Setting{true, "LATIN1"}, true}, {wide, Setting{true, "SJIS"}, false},
		{wide, Setting{true, "win-949"}, false}, {wide, Setting{true, "ISO_8859_5"}, true},
		{plain, Setting{true, "SJIS"}, true}, {wide, Setting{true, "never heard of"}, false},
	} {
		r := Read(c.text)
		if got := r.Under(c.s, c.text); (got == r) != c.ok || (got.Unread == "") != c.ok {
			t.Errorf("%q under %+v: %q", c.text, c.s, got.Unread)
		}
	}
}

func TestPreparedStatementsOfTheSessionAreResolved(t *testing.T) {
	p := Read("PREPARE p AS SELECT 1 FROM t").Statements[0]
	r := Read("EXECUTE p")
	known := func(name string) *Statement {
		if name == "p" {
			return &p
		}
		return nil
	}
	if got := r.Resolve(known); got.Changes || told(got) != "read t by execute" || told(r) != "unknown p by execute" {
		t.Errorf("resolved to %s, the reading itself is %s", told(got), told(r))
	}
	if other := Read("EXECUTE q"); other.Resolve(known) != other {
		t.Error("an unknown name was resolved")
	}
}

// What a name stands for decides whether code of users runs: all of them are told.
func TestPlacesWhereCodeOfUsersMayRunAreTold(t *testing.T) {
	s := Read(`WITH c AS (SELECT 1) SELECT i.leak, (i).x.y, JSON_SCALAR('x'), JSON_VALUE('x', '$'), MERGE_ACTION(), 'x'::dl, 1::int, ROW(1)::s.cmp[]
FROM i, c WHERE a ### 1 ORDER BY b USING <<<`).Statements[0]
	got := fmt.Sprint(s.Fields, s.Types, s.Functions, s.Operators, s.Reads, s.Writes)
	if want := "[leak x y] [dl cmp] [{ json_scalar} { json_value} { merge_action}] [### <<<] [{ i}] []"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s = Read(`WITH d AS (DELETE FROM a RETURNING *), u AS (UPDATE s.b SET x = 1) INSERT INTO c SELECT * FROM d, e WHERE x BETWEEN 1 AND 2`).Statements[0]
	got = fmt.Sprint(s.Operators, s.Reads, s.Writes)
	if want := "[= <> < > <= >=] [{ e}] [{ a} {s b} { c}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCopyIsDescribed(t *testing.T) {
	got := Read(`COPY s."T" (a, b) FROM STDIN WITH (FORMAT csv, DELIMITER ';', NULL 'x', HEADER, QUOTE '"')`).Statements[0].Copy
	want := Copy{In: true, Relation: Name{"s", "T"}, Columns: []string{"a", "b"}, Format: "csv", Delimiter: ';', Quote: '"', Null: "x", NullSet: true, Header: true}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v", *got)
	}
	got = Read(`COPY t TO STDOUT (FORMAT csv, DELIMITER 7, QUOTE *, ESCAPE 5, NULL 1.5, ENCODING Sjis)`).Statements[0].Copy
	want = Copy{Relation: Name{"", "t"}, Format: "csv", Delimiter: '7', Quote: '*', Escape: '5', Null: "1.5", NullSet: true, Encoding: "sjis"}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v", *got)
	}
	if r := Read(`COPY t TO STDOUT (DELIMITER ('a', 'b'))`); r.Unread == "" {
		t.Error("a list for a delimiter is understood")
	}
	if q := Read("COPY /* ( */ (SELECT ')' FROM t) TO STDOUT").Statements[0].Copy.Query; q != "SELECT ')' FROM t" {
		t.Errorf("query %q", q)
	}
}

// Redaction runs in the daemon: it must stay linear.
func TestRedactionOfHostileTextsEnds(t *testing.T) {
	nest := strings.Builder{}
	for i := range 100_000 {
		fmt.Fprintf(&nest, "$a%d$ password ", i)
	}
	body := nest.String()
	for name, text := range map[string]string{
		"words":    "SELECT '" + strings.Repeat("password ", 1_000_000) + "'",
		"open":     body,
		"quotes":   "password" + strings.Repeat("''", 1_000_000),
		"comments": "password" + strings.Repeat("/*", 1_000_000),
		"dollars":  "password" + strings.Repeat("$a", 1_000_000),
		"calls":    strings.Repeat("crypt(", 1_000_000),
		"unicode":  "PASSWD\xc4\xc4 'K\u212a' \u0130\u0130PASSWORD 'x",
		"bodies":   strings.Repeat("$a$ $b$ $c$ $d$ $e$ PASSWORD 'x' $e$ $d$ $c$ $b$ $a$ ", 10_000),
	} {
		if got := Redact(text); len(got) > len(text)+16*len(text) {
			t.Errorf("%s: %d bytes from %d", name, len(got), len(text))
		}
	}
}

const key = "Tr0ub4dor"

func TestSecretsAreHidden(t *testing.T) {
	for _, text := range []string{
		"CREATE ROLE a LOGIN PASSWORD 'KEY'", "ALTER USER a WITH ENCRYPTED PASSWORD E'KEY'", "ALTER ROLE a PASSWORD $$KEY$$",
		"ALTER ROLE a PASSWORD /* x */ 'KEY' VALID UNTIL 'infinity'", "ALTER ROLE a PASSWORD 'a'\n'KEY'",
		"ALTER ROLE a PASSWORD U&'KEY' UESCAPE '!'", "ALTER ROLE a PASSWORD 'KEY", "ALTER ROLE a PASSWORD $x$KEY",
		"CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'KEY')", `CREATE USER MAPPING FOR a SERVER s OPTIONS ("password" 'KEY')`,
		`CREATE USER MAPPING FOR a SERVER s OPTIONS (U&"passw\006frd" 'KEY')`,
		"CREATE SUBSCRIPTION s CONNECTION 'host=h password=KEY user=u' PUBLICATION p", "SELECT dblink_connect('postgresql://u:KEY@h/d')",
		"SELECT dblink_connect('host=h password = ''KEY''')", "SELECT pgp_sym_encrypt(data, 'KEY') FROM t", "SELECT crypt('KEY', gen_salt('bf'))",
		"ALTER SYSTEM SET primary_conninfo = 'password=KEY'", "SELECT set_config('app.password', 'KEY', false)", "SET app.secret TO 'KEY'",
		"DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''KEY'''; END $$", "DO $$ BEGIN ALTER ROLE a PASSWORD 'KEY'; END $$",
		"UPDATE users SET password = 'KEY' WHERE id = 1", "nonsense PASSWORD 'KEY' 'a \" $$ b",
		"SELECT * FROM users WHERE password IN ('KEY')",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'ALTER ROLE a PASSWORD ''KEY'''",
		"\\password 'KEY", "DO $a$ BEGIN EXECUTE $b$ ALTER ROLE a PASSWORD 'KEY' $b$; END $a$",
	} {
		text = strings.ReplaceAll(text, "KEY", key)
		if got := Redact(text); strings.Contains(got, key) {
			t.Errorf("%s\nis shown as %s", text, got)
		}
	}
}

func TestTextsWithoutSecretsStay(t *testing.T) {
	for _, text := range []string{
		"SELECT password FROM users WHERE name = 'bob'", "SELECT 'forgot password?'", "INSERT INTO t VALUES ('https://example.com/a:b')",
		"SELECT crypt FROM t WHERE a = 'b'", "ALTER ROLE a PASSWORD NULL",
	} {
		if got := Redact(text); got != text {
			t.Errorf("%s\nis shown as %s", text, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"SELECT 1", "DO $$ BEGIN x := 'a'; END $$", "COPY t FROM STDIN", "INSERT INTO t VALUES (1),(2)", "ALTER ROLE a PASSWORD 'x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 10_000 {
			return
		}
		r := Read(text)
		if r.Unread != "" && !r.Changes {
			t.Errorf("%q is unread and harmless", text)
		}
		if again := Redact(r.Redacted); len(again) > len(r.Redacted)+16 {
			t.Errorf("%q grows", text)
		}
		for _, s := range r.Statements {
			if len(s.Effects) == 0 {
				t.Errorf("%q: %s without an effect", text, s.Node)
			}
		}
	})
}
