package wire

import (
	"bytes"
	"slices"
)

// The fields by which servers let a request name another method, or another path, than its line does. All that
// look for such fields, to judge, to show, to refuse or to blot out, look here.
var (
	methodOverrides = []string{"x-http-method-override", "x-http-method", "x-method-override"}
	pathOverrides   = []string{"x-original-url", "x-rewrite-url"}
)

// OverridesMethod says that servers may take the field's value for the method.
func (f Field) OverridesMethod() bool { return slices.ContainsFunc(methodOverrides, f.Is) }

// OverridesPath says that servers may take the field's value for the request target.
func (f Field) OverridesPath() bool { return slices.ContainsFunc(pathOverrides, f.Is) }

// framingFields delimit a message or say what it is.
var framingFields = []string{
	"content-length", "transfer-encoding", "host", "connection", "expect", "upgrade", "trailer", "content-type", "content-encoding",
}

// steers says that a field frames a message, or makes another one of it.
func steers(name []byte) bool {
	f := Field{Name: name}
	return slices.ContainsFunc(framingFields, f.Is) || f.OverridesMethod() || f.OverridesPath()
}

// imitation refuses names that some servers take for those of fields that steer: an
// underscore for a dash.
func imitation(h *Head) error {
	for _, f := range h.Fields {
		if bytes.IndexByte(f.Name, '_') < 0 {
			continue
		}
		name := bytes.ReplaceAll(f.Name, []byte{'_'}, []byte{'-'})
		if steers(name) {
			return ErrLookalike
		}
	}
	return nil
}
