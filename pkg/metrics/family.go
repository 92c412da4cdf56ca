package metrics

import (
	"sync"
	"sync/atomic"
)

const (
	// other stands for all names beyond most.
	other = "other"
	// most is how many sets of names one metric may have.
	most = 1024
)

// family finds a metric's child by its names without allocating: readers see
// an immutable map, which a new child replaces whole.
type family[K comparable, V any] struct {
	seen     atomic.Pointer[map[K]V]
	mu       sync.Mutex // held by whoever adds a child
	make     func(K) (V, error)
	overflow V
}

// newFamily makes a family whose names beyond most are counted under rest.
func newFamily[K comparable, V any](child func(K) (V, error), rest K) *family[K, V] {
	overflow, err := child(rest)
	if err != nil {
		panic("metrics: the labels of a family and its names differ: " + err.Error())
	}
	f := &family[K, V]{make: child, overflow: overflow}
	f.seen.Store(&map[K]V{rest: overflow})
	return f
}

func (f *family[K, V]) get(names K) V {
	if v, ok := (*f.seen.Load())[names]; ok {
		return v
	}
	return f.add(names)
}

// add makes a child. Names that Prometheus does not take (they are no UTF-8) are counted under other.
func (f *family[K, V]) add(names K) V {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := *f.seen.Load()
	if v, ok := old[names]; ok {
		return v
	}
	if len(old) >= most {
		return f.overflow
	}
	v, err := f.make(names)
	if err != nil {
		return f.overflow
	}
	next := make(map[K]V, len(old)+1)
	for k, child := range old {
		next[k] = child
	}
	next[names] = v
	f.seen.Store(&next)
	return v
}
