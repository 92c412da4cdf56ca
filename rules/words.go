package rules

import (
	"errors"

	"cel.dev/cel-go/common/types"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// The words of a condition: which fields its variables have, and how each is
// read from the flow package's structs without reflection or copies.

// object is one type of the vocabulary.
type object struct {
	name   string
	typ    *types.Type
	fields []word
}

// word is one field. timeless: it cannot change while identity, target and
// request text stay the same. values: all it can be, when that is a closed list.
type word struct {
	name     string
	typ      *types.Type
	timeless bool
	values   []string
	get      func(any) any
	set      func(any) bool // has(); nil: always
}

var (
	identityType = types.NewObjectType("Identity")
	targetType   = types.NewObjectType("Target")
	processType  = types.NewObjectType("Process")
	ancestorType = types.NewObjectType("Ancestor")
	flowType     = types.NewObjectType("Flow")
	requestType  = types.NewObjectType("Request")
	httpType     = types.NewObjectType("HTTP")
	effectType   = types.NewObjectType("Effect")
	stringList   = types.NewListType(types.StringType)
)

var objects = []object{
	{"Identity", identityType, []word{
		field0("name", func(i *flow.Identity) string { return i.Name }),
		field0("owner", func(i *flow.Identity) string { return i.Owner }),
		field0("purpose", func(i *flow.Identity) string { return i.Purpose }),
		{name: "labels", typ: types.NewMapType(types.StringType, types.StringType), timeless: true,
			get: from(func(i *flow.Identity) any { return i.Labels })},
	}},
	{"Target", targetType, []word{
		field0("name", func(t *Target) string { return t.Name }),
		oneOf(field0("protocol", func(t *Target) string { return t.Protocol }), protocols...),
	}},
	{"Process", processType, []word{
		number("pid", func(p *flow.Process) int64 { return int64(p.PID) }),
		number("uid", func(p *flow.Process) int64 { return int64(p.UID) }),
		changing(field0("exe", func(p *flow.Process) string { return p.Exe })),
		changing(field0("exe_sha256", func(p *flow.Process) string { return p.ExeSHA256 })),
		changing(field0("cgroup", func(p *flow.Process) string { return p.Cgroup })),
		changing(field0("unit", func(p *flow.Process) string { return p.Unit })),
		{name: "argv", typ: stringList, get: from(func(p *flow.Process) any { return p.Argv })},
		{name: "ancestors", typ: types.NewListType(ancestorType), get: from(func(p *flow.Process) any { return ancestors(p.Ancestors) })},
		{name: "partial", typ: types.BoolType, get: from(func(p *flow.Process) any { return p.Partial })},
	}},
	{"Ancestor", ancestorType, []word{
		number("pid", func(a *flow.Ancestor) int64 { return int64(a.PID) }),
		changing(field0("exe", func(a *flow.Ancestor) string { return a.Exe })),
	}},
	{"Flow", flowType, []word{
		changing(field0("id", func(f *flow.Flow) string { return f.ID })),
		changing(field0("address", func(f *flow.Flow) string { return f.Destination.Addr().Unmap().String() })),
		number("port", func(f *flow.Flow) int64 { return int64(f.Destination.Port()) }),
		changing(oneOf(field0("seen", func(f *flow.Flow) string { return string(f.Seen) }),
			string(flow.Inspected), string(flow.SNIOnly), string(flow.Opaque), string(flow.Denied), string(flow.Uncovered))),
		{name: "opened", typ: types.TimestampType, get: from(func(f *flow.Flow) any { return f.Opened })},
	}},
	{"Request", requestType, []word{
		number("id", func(r *asked) int64 { return int64(r.ID) }),
		oneOf(field0("protocol", func(r *asked) string { return r.Protocol }), protocols...),
		oneOf(field0("kind", func(r *asked) string { return r.Kind }), kinds...),
		field0("text", func(r *asked) string { return r.Text }),
		changing(field0("user", func(r *asked) string { return r.User })),
		changing(field0("database", func(r *asked) string { return r.Database })),
		{name: "effects", typ: types.NewListType(effectType), timeless: true, get: from(func(r *asked) any { return &r.list })},
		number("function", func(r *asked) int64 { return int64(r.Function) }),
		{name: "changes", typ: types.BoolType, timeless: true, get: from(func(r *asked) any { return r.Changes })},
		changing(field0("fingerprint", func(r *asked) string { return r.Fingerprint })),
		{name: "http", typ: httpType, get: from(requestHTTP), set: func(v any) bool {
			r, ok := v.(*asked)
			return ok && r.HTTP != nil
		}},
	}},
	{"HTTP", httpType, []word{
		changing(field0("method", func(h *flow.HTTP) string { return h.Method })),
		changing(field0("host", func(h *flow.HTTP) string { return h.Host })),
		changing(field0("path", func(h *flow.HTTP) string { return h.Path })),
		changing(field0("query", func(h *flow.HTTP) string { return h.Query })),
		{name: "headers", typ: types.NewMapType(types.StringType, stringList), get: from(func(h *flow.HTTP) any { return headers(h.Headers) })},
	}},
	{"Effect", effectType, []word{
		oneOf(effectText("action", func(e *effect) string { return e.Action }), Actions...),
		effectText("object", func(e *effect) string { return e.Object }),
		effectText("name", func(e *effect) string { return lastPart(e.Object) }),
		{name: "columns", typ: stringList, timeless: true, get: fromEffect((*effect).columns)},
		{name: "bounded", typ: types.BoolType, timeless: true, get: fromEffect(func(e *effect) any { return e.Bounded })},
		effectText("via", func(e *effect) string { return e.Via }),
	}},
}

// Actions is every action an effect can have.
var Actions = []string{
	flow.Read, flow.Insert, flow.Update, flow.Delete, flow.Truncate, flow.Merge, flow.CopyIn, flow.CopyOut,
	flow.Create, flow.Alter, flow.Drop, flow.Grant, flow.SetRole, flow.Execute, flow.ExecuteHost, flow.Lock,
	flow.Maintain, flow.SessionSet, flow.Transaction, flow.Replicate, flow.Admin, flow.Unknown,
}

var kinds = []string{flow.KindQuery, flow.KindFunctionCall, flow.KindReplication, flow.KindHTTP, flow.KindConnect}

func from[T any](get func(*T) any) func(any) any {
	return func(v any) any {
		t, ok := v.(*T)
		if !ok || t == nil {
			return errAbsent
		}
		return get(t)
	}
}

// errAbsent is what reading a field of something that is not there gives.
var errAbsent = errors.New("the condition reads what this request does not have")

func field0[T any](name string, get func(*T) string) word {
	return word{name: name, typ: types.StringType, timeless: true, get: from(func(t *T) any { return get(t) })}
}

func number[T any](name string, get func(*T) int64) word {
	return word{name: name, typ: types.IntType, get: from(func(t *T) any { return get(t) })}
}

func changing(w word) word {
	w.timeless = false
	return w
}

func oneOf(w word, values ...string) word {
	w.values = values
	return w
}

func fromEffect(get func(*effect) any) func(any) any {
	return func(v any) any {
		switch e := v.(type) {
		case *effect:
			return get(e)
		case *doubtful:
			return types.NewUnknown(1, nil)
		}
		return errAbsent
	}
}

func effectText(name string, get func(*effect) string) word {
	return word{name: name, typ: types.StringType, timeless: true, get: fromEffect(func(e *effect) any { return get(e) })}
}

func requestHTTP(r *asked) any {
	if r.HTTP == nil {
		return errAbsent
	}
	return r.HTTP
}

type ancestors []flow.Ancestor

func ancestorPointers(list ancestors) []*flow.Ancestor {
	all := make([]*flow.Ancestor, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all
}
