package http_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor/http"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
)

// policy is a policy for a server at addr.
func policy(addr, rest string) string {
	return fmt.Sprintf(`
identities: [{name: bot, owner: o@example.com, purpose: test, match: [{unit: a.service}]}]
targets: [{name: api, protocol: http, addresses: ["%s"], record: full}]
grants: [{identity: bot, target: api, ttl: 1h, approval: none}]
people: [{name: dba, members: [alice]}]
%s`, addr, rest)
}

// proxied starts a net/http server with a proxy in front.
func proxied(t *testing.T, rest string, handler nethttp.HandlerFunc) (*protocoltest.Proxy, *nethttp.Client, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	addr := strings.TrimPrefix(server.URL, "http://")
	proxy := protocoltest.Serve(t, http.New(), netip.MustParseAddrPort(addr), policy(addr, rest))
	client := &nethttp.Client{Transport: &nethttp.Transport{MaxConnsPerHost: 1}, Timeout: 20 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	return proxy, client, "http://" + proxy.Addr
}

func body(t *testing.T, r *nethttp.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGoClientAndServer(t *testing.T) {
	proxy, client, url := proxied(t, "", func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("X-Method", r.Method)
		b, _ := io.ReadAll(r.Body) // a Go server does not read on once it writes
		_, _ = w.Write(b)
	})
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for range 3 {
		r, err := client.Post(url+"/echo", "text/plain", strings.NewReader(big))
		if got := body(t, r, err); got != big {
			t.Fatalf("%d bytes came back of %d", len(got), len(big))
		}
		r, err = client.Post(url+"/echo", "text/plain", io.MultiReader(strings.NewReader("a"), strings.NewReader(big))) // chunked
		if got := body(t, r, err); got != "a"+big {
			t.Fatalf("chunked: %d bytes came back", len(got))
		}
		r, err = client.Head(url + "/x")
		if body(t, r, err); r.Header.Get("X-Method") != "HEAD" {
			t.Fatal("HEAD got lost")
		}
	}
	if n := len(proxy.Tapes()); n != 1+2*3 { // an upload that is not seen before it is judged is a connection's last request
		t.Errorf("%d connections for one client", n)
	}
}

func TestRefusalLeavesTheClientUsable(t *testing.T) {
	served := 0
	proxy, client, url := proxied(t, `rules: [{name: no-delete, target: api, when: 'request.http.method == "DELETE"', verdict: deny, message: "ask the DBA"}]`,
		func(w nethttp.ResponseWriter, r *nethttp.Request) {
			served++
			_, _ = io.WriteString(w, "ok")
		})
	for range 2 {
		r, err := client.Get(url + "/a")
		if got := body(t, r, err); got != "ok" {
			t.Fatal(got)
		}
		req, _ := nethttp.NewRequest("DELETE", url+"/a", strings.NewReader("some body"))
		r, err = client.Do(req)
		var p struct{ Title, Detail, Rule string }
		if err := json.Unmarshal([]byte(body(t, r, err)), &p); err != nil || r.StatusCode != 403 || p.Rule != "no-delete" || p.Detail != "ask the DBA" {
			t.Fatalf("status %d, problem %+v, %v", r.StatusCode, p, err)
		}
	}
	if served != 2 || len(proxy.Tapes()) != 1 {
		t.Errorf("served %d requests on %d connections", served, len(proxy.Tapes()))
	}
}

func TestHeldRequestWaitsForItsAnswer(t *testing.T) {
	hold := `rules: [{name: hold-posts, target: api, when: 'request.http.method == "POST"', verdict: hold, approvers: [dba], timeout: 1m}]`
	for state, want := range map[string]int{"approved": 200, "denied": 403, "expired": 403} {
		proxy, client, url := proxied(t, hold, func(w nethttp.ResponseWriter, r *nethttp.Request) {})
		proxy.Asker.State, proxy.Asker.Delay = state, 100*time.Millisecond
		r, err := client.Post(url+"/a", "text/plain", strings.NewReader("x"))
		got := body(t, r, err)
		if r.StatusCode != want || want == 403 && !strings.Contains(got, `"ask":"r-1"`) {
			t.Errorf("%s: status %d: %s", state, r.StatusCode, got)
		}
		if state == "expired" && r.Header.Get("Retry-After") == "" {
			t.Error("a client is not told when to come back")
		}
	}
}

func TestServerThatCompressesAnyhowIsWithheld(t *testing.T) {
	masks := `masks: [{name: m, target: api, json: ["$..ssn"], with: redact}]`
	_, client, url := proxied(t, masks, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/plain" && r.Header.Get("Accept-Encoding") == "identity" {
			_, _ = io.WriteString(w, `{"ssn":"123-45-6789"}`)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `{"ssn":"123-45-6789"}`)
		_ = z.Close()
	})
	r, err := client.Get(url + "/plain")
	if got := body(t, r, err); got != `{"ssn":"[masked]"}` {
		t.Error(got)
	}
	r, err = client.Get(url + "/gzip")
	if got := body(t, r, err); r.StatusCode != 502 || strings.Contains(got, "6789") {
		t.Errorf("status %d: %s", r.StatusCode, got)
	}
}

func TestServerThatCannotBeReachedIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	proxy := protocoltest.Serve(t, http.New(), netip.MustParseAddrPort(addr), policy(addr, ""))
	r, err := nethttp.Get("http://" + proxy.Addr + "/")
	if got := body(t, r, err); r.StatusCode != 502 || !strings.Contains(got, "cannot be reached") {
		t.Errorf("status %d: %s", r.StatusCode, got)
	}
}

// nginx starts a real one and gives its address.
func nginx(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "data.json"), []byte(`{"user":{"ssn":"123-45-6789","name":"al"}}`), 0o644))
	must(os.WriteFile(filepath.Join(dir, "big.bin"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o644))
	conf := filepath.Join(dir, "nginx.conf")
	must(os.WriteFile(conf, []byte(fmt.Sprintf(`
daemon off; pid %[1]s/pid; error_log %[1]s/error; worker_processes 1; user root;
events {}
http {
  access_log off; types { application/json json; } default_type application/octet-stream; gzip on; gzip_types application/json; gzip_min_length 1;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[1]s; location = /no { return 204; } }
}`, dir, addr)), 0o644))
	cmd := exec.Command("nginx", "-c", conf, "-p", dir)
	must(cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nginx does not listen")
	return ""
}

// keep writes what was recorded to the captures, when asked to.
func keep(t *testing.T, proxy *protocoltest.Proxy) {
	t.Helper()
	for i, tape := range proxy.Tapes() {
		protocoltest.KeepCapture(t, "http", fmt.Sprintf("curl-nginx-%d", i), tape.Entries())
	}
}

// curl runs one curl with several transfers on one connection.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", append([]string{"-sS", "--noproxy", "*"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	return string(out)
}

func TestCurlAndNginx(t *testing.T) {
	addr := nginx(t)
	upstream := netip.MustParseAddrPort(addr)
	t.Run("verbatim", func(t *testing.T) {
		proxy := protocoltest.Serve(t, http.New(), upstream, policy(addr, ""))
		url := "http://" + proxy.Addr
		direct := curl(t, "--compressed", "-H", "Host: a", "http://"+addr+"/data.json", "http://"+addr+"/no", "-r", "3-9", "http://"+addr+"/big.bin")
		if got := curl(t, "--compressed", "-H", "Host: a", url+"/data.json", url+"/no", "-r", "3-9", url+"/big.bin"); got != direct {
			t.Errorf("through the proxy %.300q, direct %.300q", got, direct)
		}
		if got := curl(t, "--http2", url+"/data.json"); !strings.Contains(got, "6789") { // offers h2c
			t.Error(got)
		}
		keep(t, proxy)
		if got := curl(t, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", url+"/big.bin"); got != "200 1048576" {
			t.Error(got)
		}
	})
	t.Run("masked", func(t *testing.T) {
		proxy := protocoltest.Serve(t, http.New(), upstream, policy(addr, `masks: [{name: m, target: api, json: ["$.user.ssn"], with: partial}]`))
		url := "http://" + proxy.Addr
		if got := curl(t, "--compressed", url+"/data.json"); got != `{"user":{"ssn":"***-**-6789","name":"al"}}` {
			t.Error(got)
		}
		if got := curl(t, "-r", "0-10", "-w", "%{http_code}", url+"/data.json"); got != `{"user":{"ssn":"***-**-6789","name":"al"}}200` {
			t.Error(got)
		}
		if got := curl(t, "-o", "/dev/null", "-w", "%{http_code}", url+"/big.bin"); got != "502" {
			t.Error(got)
		}
		if got := curl(t, "-w", "%{http_code}", url+"/missing"); got != "404" {
			t.Error(got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		proxy := protocoltest.Serve(t, http.New(), upstream, policy(addr, `rules: [{name: no-data, target: api, when: 'request.http.path.startsWith("/data")', verdict: deny}]`))
		url := "http://" + proxy.Addr
		for _, path := range []string{"/data.json", "/%64ata.json", "//data.json", "/x/../data.json", "/data%2ejson", "/.%2fdata.json"} {
			if got := curl(t, "--path-as-is", url+path); strings.Contains(got, "6789") {
				t.Errorf("%s gave %s", path, got)
			}
		}
		if got := curl(t, "-T", "/etc/passwd", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", url+"/data.json"); got != "403" {
			t.Errorf("upload: %s", got)
		}
	})
}
