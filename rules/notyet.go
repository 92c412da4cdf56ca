package rules

import "slices"

// notYet is a feature of the contract that this version refuses at load.
type notYet struct{ what, cure string }

// What DESIGN.md's policy shape has and this version does not do. Each is
// refused at load with this sentence; none is ever read and ignored.
var (
	noContainer  = notYet{"selecting by container", "select by unit or cgroup"}
	noPod        = notYet{"selecting by pod", "select by unit or cgroup"}
	noOpen       = notYet{"on_failure: open", "use closed"}
	noUnix       = notYet{"a unix: address", "use the server's TCP address"}
	noCredential = notYet{"credential", "leave it out: the client's own login is relayed"}
	noGrantAsk   = notYet{"a grant with approval: {by: ...}", "use approval: none, and a rule with verdict: hold"}
	noNotify     = notYet{"notify", "leave it out: chaperone asks watch shows what waits"}
)

// Protocols that the contract names: those this version speaks, and the rest.
var (
	protocols      = []string{"postgres", "http", "tcp"}
	laterProtocols = []string{"mysql", "grpc", "ssh", "redis", "mongodb"}
)

// Protocols lists what a target's protocol may be.
func Protocols() []string { return slices.Clone(protocols) }
