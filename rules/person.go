package rules

import "go.yaml.in/yaml/v3"

// Person is a role that can be asked, and who fills it.
type Person struct {
	Name    string
	Members []string

	at place
}

func (p *Policy) readPerson(r *reader, n *yaml.Node) {
	var name named
	var members []named
	who := Person{at: r.at(n)}
	r.mapping(n, "people",
		field{"name", r.name(&name)},
		field{"members", r.texts(&members)},
		field{"notify", r.refused(noNotify)},
	)
	who.Name = name.string
	for _, m := range members {
		who.Members = append(who.Members, m.string)
	}
	r.needs(n, "people", "name", who.Name)
	if len(members) == 0 {
		r.wrong(n, "people without members can answer nothing", "members: [alice]")
	}
	p.people = append(p.people, who)
}
