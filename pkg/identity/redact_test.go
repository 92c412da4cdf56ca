package identity

import (
	"slices"
	"strings"
	"testing"
)

// secret stands for what must not be seen in any of these.
const secret = "hunter2"

// here says which paths exist in these tests.
func here(path string) bool {
	return slices.Contains([]string{"/opt/jobs/nightly.py", "/opt/x/app.jar", "/tmp", "job.py", "tmp", "./run.sh", "/etc/x.yaml", "/usr/include"}, path)
}

func TestSecretsInArgumentsAreHidden(t *testing.T) {
	for _, line := range []string{
		"psql postgres://app:hunter2@db/orders",
		"psql postgresql://app:p@sshunter2@db/orders",
		"psql postgresql://app:hunter2/x@db/orders",
		"psql postgresql://app:hunter2#x@db/orders",
		"psql postgres://db/orders?user=app&password=hunter2",
		"psql host=db user=app password=hunter2 dbname=orders",
		"psql|host=db password = 'hunter2 and more' dbname=orders",
		"psql|-c|alter role x password 'hunter2'",
		"psql|--command|alter role x password 'hunter2'",
		"psql|--command=alter role x password 'hunter2'",
		"psql|-calter role x password 'hunter2'",
		"mysql -uapp -phunter2",
		"mysql -p hunter2",
		"mysql --password=hunter2",
		"mysql --password hunter2",
		"mysql --password --host hunter2",
		"redis-cli -a hunter2",
		"redis-cli -a /hunter2",
		"redis-cli -ahunter2",
		"redis-cli -u redis://:hunter2@cache:6379/0",
		"redis-cli -u redis://hunter2@cache",
		"sshpass -phunter2 ssh host",
		"sshpass -p hunter2 ssh host",
		"az login -u bob -p -hunter2",
		"az login -p --hunter2",
		"sh|-c|echo hunter2 | sudo -S id",
		"sh|-c|PGPASSWORD=hunter2 psql -h db",
		"sh|-c|/tmp hunter2",
		"htpasswd -b f bob hunter2",
		"curl -sSu bob:hunter2 https://example.com",
		"curl -E cert.pem:hunter2",
		"curl -xbob:hunter2@h:1",
		"curl bob:hunter2@host/x",
		"curl https://h/x?key=hunter2",
		"curl https://h#hunter2",
		"curl https://h\\hunter2",
		"curl https://hunter2@example.com/",
		"curl https://h/hunter2@x",
		"curl|-H|Authorization: Bearer hunter2",
		"curl|--header=X-Api-Key: hunter2",
		"curl|-d|{\"pw\":\"hunter2\"}",
		"curl -d @hunter2",
		"sqlplus bob/hunter2",
		"sqlplus bob/hunter2@db",
		"smbclient -U bob%hunter2",
		"vault login s.hunter2",
		"vault login hunter2",
		"tool --key hunter2",
		"tool --pw hunter2",
		"tool --pw=hunter2",
		"tool --hunter2",
		"tool --hunter2=x",
		"tool -hunter2 x",
		"tool -v -hunter2",
		"tool +hunter2",
		"tool @hunter2",
		"tool -- hunter2",
		"tool /p:Password=hunter2",
		"tool --connection-string Server=db;Uid=app;Pwd=hunter2",
		"openssl -passin pass:hunter2",
		"openssl -k hunter2",
		"ansible -e ansible_become_pass=hunter2",
		"java -Djavax.net.ssl.keyStorePassword=hunter2 -jar a.jar",
		"env PGPASSWORD=hunter2 psql",
		"tool --host bob:hunter2",
		"tool --username bob/hunter2",
		"tool tcp://hunter2:x",
	} {
		t.Run(line, func(t *testing.T) {
			separator := " "
			if strings.Contains(line, "|") {
				separator = "|"
			}
			for _, arg := range Redact(strings.Split(line, separator), here) {
				// A letter of it may look like an option: -h of -hunter2.
				if strings.Contains(arg, "unter2") {
					t.Errorf("seen in %q", arg)
				}
			}
		})
	}
}

// What follows an option of a secret is hidden, whatever it is.
func TestASecretThatLooksHarmlessIsHidden(t *testing.T) {
	for _, value := range []string{"12345", "-dashed", "--verbose", "/tmp", "https://example.com", "word", "-", "-v"} {
		for _, option := range []string{"--password", "--db-passwd", "--token", "--api-key", "-passin", "--Password"} {
			if got := Redact([]string{"tool", option, value}, here); got[2] != redacted {
				t.Errorf("%v", got)
			}
		}
		if got := Redact([]string{"tool", "--token=" + value}, here); got[1] != "--token="+redacted {
			t.Errorf("%v", got)
		}
	}
}

func TestWhatIsKnownToBeNoSecretStays(t *testing.T) {
	for line, want := range map[string]string{
		"python3 /opt/jobs/nightly.py --verbose": "",
		"python3 job.py":                         "",
		"python3 other.py":                       "python3 [redacted]",
		"sh ./run.sh -":                          "",
		"ls -l -a /tmp":                          "",
		"ls -la":                                 "ls -l[redacted]",
		"cat x tmp":                              "cat x [redacted]",
		"java -Xmx1g -jar /opt/x/app.jar --spring.config=/etc/x.yaml": "java -X[redacted] -jar /opt/x/app.jar --spring.config=/etc/x.yaml",
		"java -jar /opt/x/app.jar --spring.config=classpath:/x":       "java -jar /opt/x/app.jar --spring.config=[redacted]",
		"cc -I/usr/include -I /usr/include":                           "",
		"git push --force":                                            "",
		"vault login s.xyz":                                           "vault login [redacted]",
		"psql --host=db.internal --port 5432 --username app orders":   "psql --host=db.internal --port 5432 --username app [redacted]",
		"psql --username AKIAIOSFODNN7EXAMPLE":                        "psql --username [redacted]",
		"psql -h db.internal -c vacuum":                               "psql -h [redacted] -c [redacted]",
		"psql postgres://db.internal:5432/orders":                     "psql postgres://db.internal:5432/[redacted]",
		"psql postgres://app:x@db.internal:5432":                      "psql postgres://[redacted]@db.internal:5432",
		"curl https://example.com/":                                   "",
		"curl -s https://[::1]:8443/x?y=z":                            "curl -s https://[::1]:8443/[redacted]",
		"curl gopher://example.com":                                   "curl [redacted]",
		"/usr/sbin/nginx: master process":                             "",
		"tool --name= x":                                              "tool --name= [redacted]",
		"mkpasswd hunter":                                             "mkpasswd [redacted]",
	} {
		if want == "" {
			want = line
		}
		argv := strings.Split(line, " ")
		if line == "/usr/sbin/nginx: master process" {
			argv, want = []string{line}, "/usr/sbin/nginx: [redacted]"
		}
		if got := strings.Join(Redact(argv, here), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// Wherever a secret stands after the program, whatever is around it: it is not seen. One of
// capitals, digits and signs is neither a subcommand nor an option's name, nor a host.
func FuzzRedact(f *testing.F) {
	f.Add("--password", "x")
	f.Add("a=b", "postgres://a:b@c")
	f.Add("--host", "-p")
	f.Add("http://", "/x")
	f.Add("http://a:", "@c/x@")
	f.Fuzz(func(t *testing.T, a, b string) {
		const hidden = "Hunt$r2;"
		if strings.Contains(a+b, hidden) {
			return
		}
		for _, argv := range [][]string{
			{"tool", hidden}, {"tool", a, hidden, b}, {"tool", a, b, hidden}, {"tool", hidden, a, b},
			{"tool", a + hidden + b}, {"tool", a, b + hidden}, {"tool", b, a + "=" + hidden}, {"tool", a, hidden + b, hidden},
		} {
			got := Redact(argv, func(string) bool { return false })
			if len(got) != len(argv) || strings.Contains(strings.Join(got, " "), hidden) {
				t.Errorf("%q became %q", argv, got)
			}
		}
	})
}
