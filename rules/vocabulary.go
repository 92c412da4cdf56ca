package rules

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// vocabulary is CEL's view of objects: a types.Provider and types.Adapter.
type vocabulary struct {
	*types.Registry
	fields map[string]map[string]*types.FieldType
}

func newVocabulary() (*vocabulary, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make the type registry: %w", err)
	}
	v := &vocabulary{registry, map[string]map[string]*types.FieldType{}}
	for _, o := range objects {
		v.fields[o.name] = map[string]*types.FieldType{}
		for _, w := range o.fields {
			v.fields[o.name][w.name] = w.fieldType()
		}
	}
	return v, nil
}

func (w word) fieldType() *types.FieldType {
	set := w.set
	if set == nil {
		set = func(any) bool { return true }
	}
	return &types.FieldType{Type: w.typ, IsSet: set, GetFrom: func(v any) (any, error) {
		got := w.get(v)
		if err, ok := got.(error); ok {
			return nil, err
		}
		return got, nil
	}}
}

// wordOf finds a field of a type by the type's name.
func wordOf(object, name string) (word, bool) {
	for _, o := range objects {
		for _, w := range o.fields {
			if o.name == object && w.name == name {
				return w, true
			}
		}
	}
	return word{}, false
}

// FindStructType implements types.Provider.
func (v *vocabulary) FindStructType(name string) (*types.Type, bool) {
	if _, ok := v.fields[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return v.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (v *vocabulary) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := v.fields[name]
	if !ok {
		return v.Registry.FindStructFieldNames(name)
	}
	var names []string
	for n := range fields {
		names = append(names, n)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (v *vocabulary) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := v.fields[name]
	if !ok {
		return v.Registry.FindStructFieldType(name, field)
	}
	f, ok := fields[field]
	return f, ok
}

// NativeToValue implements types.Adapter.
func (v *vocabulary) NativeToValue(native any) ref.Val {
	switch n := native.(type) {
	case ref.Val:
		return n
	case ancestors:
		return types.NewDynamicList(v, ancestorPointers(n))
	case headers:
		return headerMap{v.Registry.NativeToValue(map[string][]string(n)).(traits.Mapper)}
	case *flow.Identity, *Target, *flow.Process, *flow.Ancestor, *flow.Flow, *asked, *flow.HTTP:
		return thing{native}
	}
	return v.Registry.NativeToValue(native)
}

// thing is one of our structs as a CEL value; only its fields can be used.
type thing struct{ native any }

// ConvertToNative implements ref.Val.
func (t thing) ConvertToNative(reflect.Type) (any, error) { return nil, errAbsent }

// ConvertToType implements ref.Val.
func (t thing) ConvertToType(ref.Type) ref.Val { return types.NewErr("an object has no other type") }

// Equal implements ref.Val.
func (t thing) Equal(other ref.Val) ref.Val {
	o, ok := other.(thing)
	return types.Bool(ok && o.native == t.native)
}

// Type implements ref.Val.
func (t thing) Type() ref.Type { return types.NewObjectType("object") }

// Value implements ref.Val.
func (t thing) Value() any { return t.native }
