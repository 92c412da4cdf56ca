package postgres

// step is a message whose answer the server owes.
type step uint8

const (
	stepParse step = iota
	stepBind
	stepDescribeStatement
	stepDescribePortal
	stepExecute
	stepClose
	stepSync
	stepQuery
	stepFunction
	stepCopyEnd // CopyDone or CopyFail: nothing is owed, it only marks a place
)

// owed is one entry of the queue.
type owed struct {
	step    step
	swallow bool       // asked by us: the client never hears of the answer
	vouches *statement // asked by us: it fails when this is not what its name stands for
	refusal *refusal   // the message was replaced by one that fails; this is what to say
	stmt    *statement
	plan    *plan // of the portal
	name    string
	others  bool // what earlier statements have put off may speak in its place
	heard   bool // a Query or FunctionCall was answered, so that its ReadyForQuery may come
	amid    bool // a Sync behind copy data that was not ended: whether the server heeds it depends on the data
}

// queue mirrors what the server owes, in the order it will answer. It is a
// ring whose size is a power of two.
type queue struct {
	ring []owed
	head int
	n    int
}

// maxOwed bounds a pipeline. The server holds back at most 8 KiB of answers (its
// send buffer), 1638 of the shortest, so a client that waits here is always freed.
const maxOwed = 8192

func (q *queue) push(o owed) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = o
	q.n++
}

func (q *queue) grow() {
	ring := make([]owed, max(8, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = *q.at(i)
	}
	q.ring, q.head = ring, 0
}

func (q *queue) at(i int) *owed { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// first is the entry the server answers now; nil when it owes nothing.
func (q *queue) first() *owed {
	if q.n == 0 {
		return nil
	}
	return q.at(0)
}

// pop takes the first entry off, and the ends of copy data behind it: the server ignores them outside of a copy.
func (q *queue) pop() {
	for again := true; again; again = q.n > 0 && q.at(0).step == stepCopyEnd {
		*q.at(0) = owed{}
		q.head = (q.head + 1) & (len(q.ring) - 1)
		q.n--
	}
}

// copyEnd notes the end of copy data, where the server may come to read it as that.
func (q *queue) copyEnd() {
	if q.n > 0 {
		q.push(owed{step: stepCopyEnd})
	}
}

// copyIn drops what the server drops once it reads copy data: each Sync between the
// executing entry and the end of the data. ended says that the end is already on
// its way, dropped counts the Syncs; ok is false when something stands there that has no place in a copy.
func (q *queue) copyIn() (dropped int, ended, ok bool) {
	kept := 1
	for i := 1; i < q.n; i++ {
		o := *q.at(i)
		switch {
		case ended:
			*q.at(kept) = o
			kept++
		case o.step == stepCopyEnd:
			ended = true
		case o.step != stepSync || o.amid:
			return 0, false, false
		default:
			dropped++
		}
	}
	for i := kept; i < q.n; i++ {
		*q.at(i) = owed{}
	}
	q.n = kept
	return dropped, ended, true
}

// runsOn says that between the first entry and the next Sync stands more than the end of copy data.
func (q *queue) runsOn() bool {
	for i := 1; i < q.n && q.at(i).step != stepSync; i++ {
		if q.at(i).step != stepCopyEnd {
			return true
		}
	}
	return false
}
