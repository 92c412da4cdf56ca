package identity

import (
	"slices"
	"strings"
	"testing"
)

// secret stands for what must not be seen in any of these.
const secret = "hunter2Sesame"

func TestSecretsInArgumentsAreHidden(t *testing.T) {
	for _, line := range []string{
		"psql postgres://app:" + secret + "@db/orders",
		"psql postgresql://app:p@ss" + secret + "@db/orders",
		"psql postgres://db/orders?user=app&password=" + secret,
		"psql host=db user=app password=" + secret + " dbname=orders",
		"psql|host=db password='" + secret + "' dbname=orders",
		"psql|host=db password = '" + secret + " and more' dbname=orders",
		"mysql -uapp -p" + secret,
		"mysql -p " + secret,
		"mysql --password=" + secret,
		"mysql --password " + secret,
		"mongosh --pass " + secret,
		"redis-cli -a " + secret,
		"redis-cli -a" + secret,
		"redis-cli -u redis://:" + secret + "@cache:6379/0",
		"sshpass -p" + secret + " ssh host",
		"sshpass -p " + secret + " ssh host",
		"curl -u app:" + secret + " https://example.com",
		"curl -uapp:" + secret + " https://example.com",
		"curl|-H|Authorization: Bearer " + secret,
		"curl|-HAuthorization: Bearer " + secret,
		"curl|--header=X-Api-Key: " + secret,
		"curl|-H|X-Custom: " + secret,
		"curl https://" + secret + "@example.com/",
		"curl https://example.com/?access_token=" + secret,
		"curl|-d|{\"password\": \"" + secret + "\"}",
		"curl|-d|{\"client_secret\":\"" + secret + "\"}",
		"curl --cookie sid=" + secret,
		"curl -b sid=" + secret,
		"env PGPASSWORD=" + secret + " psql",
		"sh|-c|PGPASSWORD=" + secret + " psql -h db",
		"sh|-c|export API_TOKEN=" + secret + "; run",
		"sh|-c|mysql -uapp -p" + secret + " orders",
		"sh|-c|curl -u app:" + secret + " https://example.com",
		"sh|-c|psql postgres://app:" + secret + "@db/orders",
		"sh|-c|redis-cli -a " + secret,
		"sh|-c|tool --password " + secret,
		"tool -password " + secret,
		"tool --db-password " + secret,
		"tool --token=" + secret,
		"tool /p:Password=" + secret,
		"tool /password:" + secret,
		"tool --connection-string Server=db;Uid=app;Pwd=" + secret,
		"tool|Server=db;Uid=app;Pwd=" + secret + ";",
		"openssl -passin pass:" + secret,
		"openssl -k " + secret,
		"docker login -p " + secret,
		"ansible -e ansible_become_pass=" + secret,
		"java -Djavax.net.ssl.keyStorePassword=" + secret + " -jar a.jar",
		"ldapsearch -w " + secret,
		"ldapsearch -w" + secret,
		"sqlcmd -P " + secret,
		"sqlcmd -P" + secret,
		"sqlplus app/" + secret + "@db",
	} {
		t.Run(line, func(t *testing.T) {
			separator := " "
			if strings.Contains(line, "|") {
				separator = "|"
			}
			for _, arg := range Redact(strings.Split(line, separator)) {
				if strings.Contains(arg, secret) || strings.Contains(arg, "ame and more") {
					t.Errorf("seen in %q", arg)
				}
			}
		})
	}
}

func TestASecretOfDigitsOrWithADashIsHidden(t *testing.T) {
	for _, value := range []string{"12345", "-dashed", "/slashed"} {
		if got := Redact([]string{"tool", "--password", value}); got[2] != redacted {
			t.Errorf("%v", got)
		}
	}
}

func TestKeyMaterialIsHidden(t *testing.T) {
	for name, value := range map[string]string{
		"aws key id":  "AKIAIOSFODNN7EXAMPLE",
		"aws secret":  "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"jwt":         "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
		"github":      "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
		"slack":       "xoxb-123456789012-abcdefghijkl",
		"private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
		"long key":    "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEowIBAAKCAQEA\n", 30),
	} {
		t.Run(name, func(t *testing.T) {
			for _, arg := range []string{value, "x=" + value, "before " + value + " after"} {
				got := strings.Join(Redact([]string{"tool", arg}), " ")
				if strings.Contains(got, value) || strings.Contains(got, "MIIEowIBAAKCAQEA") {
					t.Errorf("seen in %q", got)
				}
			}
		})
	}
}

func TestOrdinaryArgumentsStay(t *testing.T) {
	for _, line := range []string{
		"psql -h db.internal -p 5432 -U app orders",
		"psql -p5432 -d orders",
		"pgbench -c 8 -j 2 -T 60 -S -M prepared bench",
		"python3 /opt/jobs/nightly.py --since 2026-01-01 --verbose",
		"postgres -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf",
		"ls -la /tmp",
		"curl https://example.com/path?page=2",
	} {
		argv := strings.Split(line, " ")
		if got := Redact(argv); !slices.Equal(got, argv) {
			t.Errorf("%v became %v", argv, got)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("--password", "x")
	f.Add("a=b", "postgres://a:b@c")
	f.Fuzz(func(t *testing.T, a, b string) {
		if got := Redact([]string{"tool", a, b}); len(got) != 3 {
			t.Errorf("%d arguments", len(got))
		}
		got := strings.Join(Redact([]string{"tool", "--password", secret, a, "--token=" + secret, b}), " ")
		if strings.Contains(a+b, "-") || strings.Contains(a+b, secret) {
			return
		}
		if strings.Contains(got, secret) {
			t.Errorf("seen in %q", got)
		}
	})
}
