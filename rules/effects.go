package rules

import (
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// asked is a request with its effects as CEL sees them: without a copy.
type asked struct {
	*flow.Request
	list effectList
}

// effect is one flow.Effect as a CEL value.
type effect flow.Effect

// columns are those the statement names. Where it moves rows and names none, it may
// mean all of them: then they are unknown.
func (e *effect) columns() any {
	if e.Columns == nil && e.Object != "" && slices.Contains(movesRows, e.Action) {
		return types.NewUnknown(1, nil)
	}
	return e.Columns
}

var movesRows = []string{flow.Read, flow.Insert, flow.Update, flow.Delete, flow.Merge, flow.CopyIn, flow.CopyOut}

// lastPart is an object's name without its schema. A part that holds a dot
// is quoted, with quotes in it doubled.
func lastPart(object string) string {
	if !strings.HasSuffix(object, `"`) {
		return object[strings.LastIndexByte(object, '.')+1:]
	}
	inner := object[:len(object)-1]
	for i := len(inner) - 1; i >= 0; i-- {
		switch {
		case inner[i] != '"':
		case i > 0 && inner[i-1] == '"':
			i--
		default:
			return strings.ReplaceAll(inner[i+1:], `""`, `"`)
		}
	}
	return object
}

// doubtful is an effect of which nothing is known: each of its fields is
// unknown to CEL, and so is what depends on one.
type doubtful struct{ effect }

// effectList is the list of a request's effects.
type effectList struct {
	list  []flow.Effect
	doubt bool // flow.Unknown effects are doubtful
}

func (l *effectList) at(i int) ref.Val {
	e := (*effect)(&l.list[i])
	if l.doubt && unknown(e.Action) {
		return &doubtful{*e}
	}
	return e
}

// unknown says that an action tells nothing: it is flow.Unknown, or none of ours.
func unknown(action string) bool {
	return action == flow.Unknown || !slices.Contains(Actions, action)
}

// Get implements traits.Indexer.
func (l *effectList) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok || i < 0 || int(i) >= len(l.list) {
		return types.NewErr("no such effect")
	}
	return l.at(int(i))
}

// Size implements traits.Sizer.
func (l *effectList) Size() ref.Val { return types.Int(len(l.list)) }

// Iterator implements traits.Iterable.
func (l *effectList) Iterator() traits.Iterator { return &effectIterator{effectList: l} }

// Contains implements traits.Container; effects cannot be written down in a condition.
func (l *effectList) Contains(ref.Val) ref.Val { return types.NewErr("effects are not compared") }

// Add implements traits.Adder.
func (l *effectList) Add(ref.Val) ref.Val { return types.NewErr("effects are not added") }

// ConvertToNative implements ref.Val.
func (l *effectList) ConvertToNative(reflect.Type) (any, error) { return nil, errAbsent }

// ConvertToType implements ref.Val.
func (l *effectList) ConvertToType(ref.Type) ref.Val {
	return types.NewErr("effects have no other type")
}

// Equal implements ref.Val.
func (l *effectList) Equal(ref.Val) ref.Val { return types.NewErr("effects are not compared") }

// Type implements ref.Val.
func (l *effectList) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l *effectList) Value() any { return l.list }

type effectIterator struct {
	*effectList
	next int
}

// HasNext implements traits.Iterator.
func (i *effectIterator) HasNext() ref.Val { return types.Bool(i.next < len(i.list)) }

// Next implements traits.Iterator.
func (i *effectIterator) Next() ref.Val {
	i.next++
	return i.at(i.next - 1)
}

// ConvertToNative implements ref.Val.
func (e *effect) ConvertToNative(reflect.Type) (any, error) { return nil, errAbsent }

// ConvertToType implements ref.Val.
func (e *effect) ConvertToType(ref.Type) ref.Val { return types.NewErr("an effect has no other type") }

// Equal implements ref.Val.
func (e *effect) Equal(ref.Val) ref.Val { return types.NewErr("effects are not compared") }

// Type implements ref.Val.
func (e *effect) Type() ref.Type { return effectType }

// Value implements ref.Val.
func (e *effect) Value() any { return e }

// Value implements ref.Val.
func (d *doubtful) Value() any { return d }
