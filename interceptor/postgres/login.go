package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// maxLogin bounds a message of the login, in bytes (PG_MAX_AUTH_TOKEN_LENGTH is
// 65535).
const maxLogin = 64<<10 + wire.HeaderSize

// relayedLogin is what must be known of a login that is otherwise relayed untouched.
type relayedLogin struct {
	bridged bool // the server is reached by TLS that does not end at the client: channel binding cannot hold
	plus    bool // SCRAM-SHA-256-PLUS was taken off the server's offer
}

// begin sends the startup packet. A replication connection is a request of its own.
func (e *engine) begin(w *walk) (bool, error) {
	if replicates(e.params["replication"]) {
		j, ok := e.judgeReplication(w)
		if !ok {
			return false, nil
		}
		if j.answer.Verdict == flow.Deny {
			r := refusalOf(j.answer, thisReplication)
			e.last = r.response(nil, "FATAL")
			return false, violation{"replication refused"}
		}
		if e.masking() { // its bytes have no columns that could be masked
			r := &refusal{code: "42501", message: "chaperone refuses replication of a target with masks", detail: "Rule: (masks)"}
			e.last = r.response(nil, "FATAL")
			return false, errors.Join(violation{"replication refused"}, e.s.Refused(j.request, "(masks)", "replication cannot be masked"))
		}
	}
	w.put(e.packet)
	e.packet, e.phase = nil, login
	return true, nil
}

// replicates says whether a startup's replication option asks for the replication
// protocol. Anything but a clear no does.
func replicates(option string) bool {
	switch option {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

func (e *engine) judgeReplication(w *walk) (*judged, bool) {
	if j := e.asked; j != nil {
		if j.settled {
			e.asked = nil
		}
		return j, j.settled
	}
	j := &judged{request: e.request(flow.KindReplication)}
	j.request.Effects = []flow.Effect{{Action: flow.Replicate}}
	j.request.Changes = true
	e.asked = j
	w.out.Question = j.known
	return nil, false
}

// loginUp relays what a client says while it logs in.
func (e *engine) loginUp(w *walk, typ byte, size int) (bool, error) {
	switch typ {
	case 'p':
	case 'X':
		w.pos += size
		return true, nil
	default:
		e.stalled, w.out.Stalled = true, true // it waits until the login is over
		return false, nil
	}
	if size > maxLogin {
		return false, violation{"a login message is too long"}
	}
	if w.left() < size {
		return false, nil
	}
	if e.login.plus && refusesPlain(w.in[w.pos+wire.HeaderSize:w.pos+size]) {
		e.last = fatal("28000", "chaperone ends TLS between this client and its server, so channel binding cannot hold",
			"Connect with channel_binding=disable, or set the target's tls.client to clear.")
		return false, violation{"the client insists on channel binding"}
	}
	w.pos += size
	return true, nil
}

// refusesPlain says whether a SASLInitialResponse says that its client supports channel
// binding and believes that the server does not (gs2 flag y): the server would take
// the missing PLUS for an attack.
//
//	mechanism \0 | int32 length | gs2-header ...
func refusesPlain(body []byte) bool {
	_, rest, ok := wire.CString(body)
	return ok && len(rest) > 4 && rest[4] == 'y'
}

// loginDown relays what a server says until the session is ready.
func (e *engine) loginDown(w *walk, typ byte, size int) (bool, error) {
	if size > maxLogin {
		return false, violation{"a login message is too long"}
	}
	if w.left() < size {
		return false, nil
	}
	message := w.in[w.pos : w.pos+size]
	switch typ {
	case 'K':
		return true, e.newKey(w, message)
	case 'R':
		if e.login.bridged && e.withoutPlus(w, message) {
			return true, nil
		}
	case 'S':
		e.lexing.heed(message[wire.HeaderSize:])
	case 'Z':
		w.pos += size
		w.pass()
		e.begun(message[wire.HeaderSize])
		w.out.Kick = e.stalled
		e.stalled = false
		return true, nil
	case 'E', 'N', 'v':
	default:
		return false, violation{"the server sent a message that has no place in a login"}
	}
	w.pos += size
	return true, nil
}

// begun ends the login.
func (e *engine) begun(status byte) {
	e.phase, e.status = ready, status
	if replicates(e.params["replication"]) {
		e.phase = raw
	}
	e.params = nil
}

// newKey gives the client a key of our own: with the server's it, or whoever it tells,
// could cancel past us.
//
//	'K' | int32 length | int32 pid | key, 4 bytes or (protocol 3.2) up to 256
func (e *engine) newKey(w *walk, message []byte) error {
	if len(message) < 13 || len(message) > 9+256 || e.key != nil {
		return violation{"the server sent a bad cancel key"}
	}
	e.cancel.pid = binary.BigEndian.Uint32(message[5:])
	e.cancel.key = bytes.Clone(message[9:])
	e.key = e.p.cancels.add(e.cancel)
	copy(message[9:], e.key)
	w.pos += len(message)
	return nil
}

// withoutPlus takes SCRAM-SHA-256-PLUS off the server's list; it says whether it was there.
//
//	'R' | int32 length | int32 10 | mechanism \0 ... \0
func (e *engine) withoutPlus(w *walk, message []byte) bool {
	body := message[wire.HeaderSize:]
	plus := []byte("SCRAM-SHA-256-PLUS\x00")
	if len(body) < 4 || binary.BigEndian.Uint32(body) != 10 || !bytes.Contains(body, plus) {
		return false
	}
	out, at := wire.Begin(nil, 'R')
	out = append(out, bytes.Replace(body, plus, nil, 1)...)
	e.login.plus = true
	w.put(wire.End(out, at))
	w.skip(len(message))
	return true
}

// Close forgets the session's cancel key, when the session is over.
func (e *engine) Close() error {
	if e.key != nil {
		e.p.cancels.remove(e.cancel.pid, e.key)
		e.key = nil
	}
	if e.opened {
		e.opened = false
		e.catalog.changed(-1, e.shook)
	}
	e.settleDoubts()
	return nil
}

// rawFeed relays replication that a rule allowed.
func (e *engine) rawFeed(w *walk) {
	w.pos = len(w.in)
	e.omitted[w.dir] = e.s.Level != 0
}

var _ interceptor.Engine = (*engine)(nil)
