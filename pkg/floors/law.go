package floors

import "fmt"

// A Breach is one broken rule, said as file:line or folder, what, and the cure.
type Breach string

// room is a folder with the floor it stands on. The longest match counts.
type room struct {
	folder string
	floor  int
}

// rooms is STYLE's list. A folder that is not in it has no place in the house yet.
var rooms = []room{
	{"pkg/flow", 0},
	{"pkg/frame", 0},
	{"pkg/cgroup2", 0},
	{"pkg/floors", 0},
	{"pkg/leaks", 0},
	{"rules", 1},
	{"pkg/sqlread", 1},
	{"interceptor/dns/wire", 1},
	{"interceptor/http/wire", 1},
	{"interceptor/mongodb/wire", 1},
	{"interceptor/mysql/wire", 1},
	{"interceptor/postgres/wire", 1},
	{"interceptor/redis/wire", 1},
	{"interceptor/ssh/wire", 1},
	{"bpf", 2},
	{"interceptor", 2},
	{"pkg/approval", 2},
	{"pkg/broker", 2},
	{"pkg/ca", 2},
	{"pkg/enroll", 2},
	{"pkg/identity", 2},
	{"pkg/record", 2},
	{"pkg/api", 3},
	{"pkg/config", 3},
	{"pkg/metrics", 3},
	{"pkg/store", 3},
	{"pkg/web", 3},
	{"cmd", 4},
	{"testdata", 4},
}

// meeting are the folders whose purpose is to know their neighbours: the list
// of a kind, and the suite that each member of the list must pass.
var meeting = []string{"interceptor/protocols", "interceptor/protocoltest"}

// Law reports every import that looks up, or sideways at a neighbour.
func (h *House) Law() []Breach {
	var breaches []Breach
	for _, f := range h.Files {
		from, ok := roomOf(f.Package)
		if !ok {
			breaches = append(breaches, Breach(f.Path+": its folder stands on no floor (add it to rooms in pkg/floors/law.go)"))
			continue
		}
		for _, name := range f.imports() {
			if why := forbidden(f, from, name); why != "" {
				breaches = append(breaches, Breach(fmt.Sprintf("%s: imports %s, %s", f.Path, name, why)))
			}
		}
	}
	return breaches
}

// forbidden says why f may not import name; "" when it may.
func forbidden(f File, from room, name string) string {
	to, ok := roomOf(name)
	switch {
	case !ok:
		return "which stands on no floor"
	case related(f.Package, name):
		return ""
	case f.Test && inside("interceptor/protocoltest", name):
		return "" // the suite is run from the member's own folder
	case to.floor > from.floor:
		return fmt.Sprintf("which is on floor %d, from floor %d", to.floor, from.floor)
	case to.floor == from.floor && to.floor != 4:
		return "a neighbour on its own floor (they meet in cmd, through an interface of the one that uses)"
	}
	return ""
}

// related says that two folders are one family: one inside the other, rooms of
// one folder that is not the protocols' (those are neighbours), or one of them a
// meeting place.
func related(a, b string) bool {
	if inside(a, b) || inside(b, a) {
		return true
	}
	from, _ := roomOf(a)
	to, _ := roomOf(b)
	if from == to && from.folder != "interceptor" {
		return true
	}
	for _, place := range meeting {
		if inside(place, a) && top(a) == top(b) {
			return true
		}
	}
	return false
}

// top is the first element of a folder's path.
func top(folder string) string {
	for i := range folder {
		if folder[i] == '/' {
			return folder[:i]
		}
	}
	return folder
}

// roomOf finds the room a folder lies in.
func roomOf(folder string) (room, bool) {
	var best room
	for _, r := range rooms {
		if inside(r.folder, folder) && len(r.folder) > len(best.folder) {
			best = r
		}
	}
	return best, best.folder != ""
}
