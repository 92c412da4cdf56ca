# Of `go test -v`, what the failed tests said; of a package that fails without
# naming a test (it does not build, or panics), all that it said.

/^=== (RUN|PAUSE|CONT|NAME) / { test = $3; next }
/^ *--- (PASS|SKIP): / { test = $3; next }
/^ *--- FAIL: / { test = $3; failed[test] = 1; order[++n] = test; said[test] = $0 "\n" said[test]; next }
/^(ok  |FAIL|---|\?   )/ {
	if (/^FAIL[ \t]/) {
		for (i = 1; i <= n; i++) printf "%s", said[order[i]]
		if (n == 0) printf "%s", all
		print
	}
	if (/^(ok  |FAIL[ \t]|\?   )/) { n = 0; all = test = ""; delete failed; delete said; delete order }
	next
}
!/^(PASS|time=)/ { said[test] = said[test] $0 "\n"; all = all $0 "\n" }
