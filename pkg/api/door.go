package api

import (
	"net"
	"sync"
	"time"
)

// How many connections there may be at a time. Root has places that nobody else can
// take: whoever has access to the socket must not be able to lock the operator out.
const (
	placesOfOne    = 32  // of any one user
	placesOfOthers = 192 // of all users who are not root
	placesOfRoot   = 64
	turnedAway     = 32 // of those who are told that they are refused
)

// refusalTime is how long one who is refused may take to ask, so that he is told.
const refusalTime = 2 * time.Second

// refused is who holds the places of those that are turned away; no user has this number (POSIX: (uid_t)-1).
const refused = ^uint32(0)

// door accepts as many visitors as there are places for, and knows who each is.
// One who finds none is hung up on: he must not make others wait.
type door struct {
	net.Listener
	house House

	mu     sync.Mutex // guards inside
	inside map[uint32]int
}

func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err != nil { // gone already, or not to be told who it is
			_ = c.Close()
			continue
		}
		if !d.enter(p.uid) {
			_ = c.Close()
			p.close()
			continue
		}
		return &visitor{Conn: c, peer: p, door: d, place: p.uid}, nil
	}
}

// enter takes a place of a user's.
func (d *door) enter(uid uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := placesOfOne
	switch uid {
	case 0:
		most = placesOfRoot
	case refused:
		most = turnedAway
	default:
		others := 0
		for who, n := range d.inside {
			if who != 0 && who != refused {
				others += n
			}
		}
		if others >= placesOfOthers {
			return false
		}
	}
	if d.inside[uid] >= most {
		return false
	}
	d.inside[uid]++
	return true
}

func (d *door) leave(uid uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside[uid]--; d.inside[uid] == 0 {
		delete(d.inside, uid)
	}
}

// visitor is an accepted connection with the process behind it.
type visitor struct {
	net.Conn
	peer  *peer
	door  *door
	first sync.Once

	mu     sync.Mutex // guards what follows
	place  uint32     // whose place it takes
	closed bool
	wrong  error // why it was refused at the door
}

// Read looks at the visitor first, before he has said a word. This is done
// here, in the connection's own goroutine, and not in Accept: who has many ancestors must not
// make the next one wait.
func (v *visitor) Read(b []byte) (int, error) {
	v.first.Do(v.look)
	return v.Conn.Read(b)
}

// look gives back the place of one who is refused: he may be as many as he likes, and root.
func (v *visitor) look() {
	err := v.peer.free(v.door.house.Enrolled)
	if err == nil {
		return
	}
	v.log(err)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = err
	if v.closed {
		return
	}
	v.door.leave(v.place)
	v.place = refused
	if !v.door.enter(refused) {
		v.closed = true
		v.peer.close()
		_ = v.Conn.Close()
		return
	}
	_ = v.SetReadDeadline(time.Now().Add(refusalTime)) // if it is closed, the read says so
}

// admitted is nil when the visitor may ask. He is looked at again at each request: he
// may have been enrolled since.
func (v *visitor) admitted() error {
	v.mu.Lock()
	wrong := v.wrong
	v.mu.Unlock()
	if wrong != nil {
		return wrong
	}
	err := v.peer.free(v.door.house.Enrolled)
	if err != nil {
		v.log(err)
	}
	return err
}

func (v *visitor) log(err error) {
	v.door.house.Log.Warn("control socket: caller refused", "pid", v.peer.pid, "uid", v.peer.uid, "err", err)
}

func (v *visitor) Close() error {
	err := v.Conn.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.peer.close()
		v.door.leave(v.place)
	}
	return err
}
