package http

import (
	"bytes"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

func TestURLsInFieldsKeepNoCredential(t *testing.T) {
	for _, test := range [][2]string{
		{"Link: <https://a/x?page=2&token=hunter2>; rel=\"next\", <https://a/x?page=9&access_token=hunter2#f>; rel=last",
			"Link: <https://a/x?page=2&token=[redacted]>; rel=\"next\", <https://a/x?page=9&access_token=[redacted]>; rel=last"},
		{"link: </style.css>; rel=preload", "link: </style.css>; rel=preload"},
		{"Link: <https://a/x?token=hunter2", "Link: [redacted]"},
		{"Refresh: 5; url=https://a/x?token=hunter2", "Refresh: 5; url=https://a/x?token=[redacted]"},
		{"Location: /x?code=hunter2&y=1", "Location: /x?code=[redacted]&y=1"},
	} {
		name, value, _ := bytes.Cut([]byte(test[0]), []byte(": "))
		f := wire.Field{Name: name, Value: value, Line: []byte(test[0] + "\r\n")}
		if got := string(appendBlotted(nil, f)); got != test[1]+"\r\n" {
			t.Errorf("%s\nbecame %s", test[0], got)
		}
	}
}
