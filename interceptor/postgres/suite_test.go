//go:build corpus

package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestPgxSuite runs pgx's own tests straight and watched.
func TestPgxSuite(t *testing.T) {
	w := watch(t, "full", "-")
	for name, port := range map[string]int{"straight": postgres.port, "watched": w.port} {
		url := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", port)
		cmd := exec.Command("go", "test", "-count=1", "-timeout=70s", "-v", "github.com/jackc/pgx/v5/pgconn", "github.com/jackc/pgx/v5")
		cmd.Env = append(os.Environ(), "PGX_TEST_DATABASE="+url, "PGX_TEST_TCP_CONN_STRING="+url)
		out, err := cmd.CombinedOutput()
		os.WriteFile("/tmp/leakbin/pgx-"+name+".txt", out, 0o644)
		t.Log(name, err, len(out))
	}
}
