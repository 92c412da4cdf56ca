// Package protocols is the list of the languages Chaperone speaks: one folder
// beside this one and one line here each.
package protocols

import (
	"crypto/tls"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http"
	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/interceptor/tcp"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// Needs is what the protocols need from the house.
type Needs struct {
	Reader       sqlread.Reader                              // of SQL
	Certificates func(name string) (*tls.Certificate, error) // for client legs that are terminated
}

// List makes one of each, in the order in which they are asked whether first words are theirs.
func List(n Needs) []interceptor.Protocol {
	return []interceptor.Protocol{
		postgres.New(postgres.Options{Reader: n.Reader, Certificates: n.Certificates}),
		http.New(),
		tcp.New(),
	}
}
