package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/approval"
)

// About is what an administrative act was done to, for the record.
type About struct {
	ID        string    `json:"id,omitempty"` // of an ask or a run
	Identity  string    `json:"identity,omitempty"`
	Session   string    `json:"session,omitempty"`
	Unit      string    `json:"unit,omitempty"`
	Cgroup    string    `json:"cgroup,omitempty"`
	PID       int       `json:"pid,omitempty"`
	Container string    `json:"container,omitempty"`
	Approve   *bool     `json:"approve,omitempty"`
	Scope     string    `json:"scope,omitempty"`
	Before    time.Time `json:"before,omitzero"`
}

// aboutLimit bounds each text of an act, in bytes: who is refused wrote it as well.
const aboutLimit = 256

// aboutOf reads what a request is about, which may be wrong otherwise, and leaves its body to be read again.
func aboutOf(r *http.Request) About {
	var a About
	if body, err := io.ReadAll(r.Body); err == nil { // in memory and bounded, by takeBody
		r.Body = io.NopCloser(bytes.NewReader(body))
		_ = json.Unmarshal(body, &a) // what cannot be read is about nothing
	}
	if id := r.PathValue("id"); id != "" {
		a.ID = id
	}
	for _, text := range []*string{&a.ID, &a.Identity, &a.Session, &a.Unit, &a.Cgroup, &a.Container, &a.Scope} {
		*text = approval.Visible((*text)[:min(len(*text), aboutLimit)])
	}
	return a
}
