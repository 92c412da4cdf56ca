package sqlread

import (
	"container/list"
	"sync"
	"time"
)

// cache keeps the readings last asked for, by exact text, up to a number of bytes.
// A hit allocates nothing.
type cache struct {
	most int64

	mu   sync.Mutex // guards all below
	size int64
	by   map[string]*list.Element
	ages *list.List // *entry, the last asked for first
}

type entry struct {
	text    string
	reading *Reading
	cost    int64
	until   time.Time // zero: as long as there is room
}

func newCache(most int64) *cache {
	return &cache{most: most, by: map[string]*list.Element{}, ages: list.New()}
}

// get finds a reading; nil when it is not there.
func (c *cache) get(text string) *Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[text]
	if !ok {
		return nil
	}
	have := e.Value.(*entry)
	if !have.until.IsZero() && time.Now().After(have.until) {
		c.remove(e)
		return nil
	}
	c.ages.MoveToFront(e)
	return have.reading
}

// put keeps a reading; one that would take an eighth of the room is not kept.
// text must be the caller's own.
func (c *cache) put(text string, r *Reading, until time.Time) {
	cost := weigh(text, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if cost > c.most/8 {
		return
	}
	if e, ok := c.by[text]; ok {
		c.remove(e)
	}
	c.by[text] = c.ages.PushFront(&entry{text, r, cost, until})
	c.size += cost
	for c.size > c.most {
		c.remove(c.ages.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	have := c.ages.Remove(e).(*entry)
	delete(c.by, have.text)
	c.size -= have.cost
}

// weigh estimates the bytes that an entry holds.
func weigh(text string, r *Reading) int64 {
	n := 512 + len(text)
	if len(r.Redacted) != len(text) {
		n += len(r.Redacted)
	}
	for _, s := range r.Statements {
		n += 256 + 64*(len(s.Relations)+len(s.Functions))
		for _, e := range s.Effects {
			n += 128 + 32*len(e.Columns) + len(e.Object)
		}
	}
	return int64(n)
}
