package approval

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUnreadableAskIsSetAside(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, &log{}, Limits{})
	a := ask(t, d, "f", "bot", "fp")
	good, err := os.ReadFile(filepath.Join(dir, a.ID()+".json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"r-000001.json": good, // another ask's name
		"r-000002.json": []byte(`{"v":1`),
		"r-000003.json": bytes.Repeat([]byte(" "), fileLimit+10),
		"r-000004.json": append(bytes.Replace(good, []byte(a.ID()), []byte("r-000004"), 1), good...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, dir, &log{}, Limits{})
	if list := again.List(""); len(list) != 1 || list[0].ID != a.ID() || list[0].State != Denied {
		t.Errorf("%+v", list)
	}
	if aside, _ := filepath.Glob(dir + "/*.unreadable"); len(aside) != 4 {
		t.Errorf("set aside: %v", aside)
	}
}

func TestDirectoryOthersCanWriteIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, &log{}, team, time.Now, Limits{}); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"r-7k3q9d","state":"pending","opened":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:10:00Z","identity":"b","target":"t","session":"s","process":{"pid":1,"start":1,"uid":0},"request":{"id":1,"protocol":"postgres","kind":"query"}}`))
	f.Add([]byte(`{"v":1,"until":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := decode(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decode(again)
		if err != nil || second.ID != first.ID || second.State != first.State || !second.Until.Equal(first.Until) {
			t.Errorf("%s: %v", again, err)
		}
	})
}
