package flow

// Verdict is what the policy says of a request.
type Verdict string

// The four verdicts.
const (
	Allow Verdict = "allow"
	Warn  Verdict = "warn" // allowed, and said aloud in record and metrics
	Hold  Verdict = "hold" // waits for a person
	Deny  Verdict = "deny"
)

// Effect is what a request does to what. Actions are the closed list of
// Actions; an action that cannot be told is Unknown, the most dangerous one.
type Effect struct {
	Action  string   `json:"action"`
	Object  string   `json:"object,omitempty"`  // schema-qualified where the statement says so
	Columns []string `json:"columns,omitempty"` // nil: all, or not said
	Bounded bool     `json:"bounded"`           // touches a limited part (a WHERE that can exclude rows)
	Via     string   `json:"via,omitempty"`     // "cte", "function", "do", ...: how it is reached
}

// The actions an effect can have.
const (
	Read        = "read"
	Insert      = "insert"
	Update      = "update"
	Delete      = "delete"
	Truncate    = "truncate"
	Merge       = "merge"
	CopyIn      = "copy-in"
	CopyOut     = "copy-out"
	Create      = "create"
	Alter       = "alter"
	Drop        = "drop"
	Grant       = "grant"
	SetRole     = "set-role"
	Execute     = "execute"
	ExecuteHost = "execute-host"
	Lock        = "lock"
	Maintain    = "maintain"
	SessionSet  = "session"
	Transaction = "transaction"
	Replicate   = "replicate"
	Admin       = "admin"
	Unknown     = "unknown"
)

// Kinds of request. Each protocol has its own; a policy can name them.
const (
	KindQuery        = "query"         // a SQL statement text, simple or prepared
	KindFunctionCall = "function-call" // PostgreSQL fast path: no text, an OID
	KindReplication  = "replication"   // PostgreSQL replication startup
	KindHTTP         = "http"
	KindConnect      = "connect" // a whole connection (tcp)
)

// Request is one thing asked on a flow.
type Request struct {
	ID       uint64   `json:"id"` // counts from 1 within the session
	Protocol string   `json:"protocol"`
	Kind     string   `json:"kind"`
	Text     string   `json:"text,omitempty"` // statement or "GET /path", passwords redacted
	User     string   `json:"user,omitempty"` // as whom upstream
	Database string   `json:"database,omitempty"`
	Effects  []Effect `json:"effects,omitempty"`
	Function uint32   `json:"function,omitempty"` // OID of a function-call
	HTTP     *HTTP    `json:"http,omitempty"`
	// Fingerprint is the same for requests that differ in nothing a person
	// would decide on: what an approval covers. Hex SHA-256.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Parameters are what this run of the request fills its text with, as people
	// read it and shortened; set when a run is held, not when rules decide about a text.
	Parameters []string `json:"parameters,omitempty"`
	// Reveal, where it is set, gives what people are shown besides Text when they are asked:
	// it is called then only, and becomes Parameters.
	Reveal func() []string `json:"-"`
	// Run, where it is set, is the fingerprint of this very run: of the text, all of its
	// parameters, and the settings it runs under. An ask has it as its Fingerprint.
	Run string `json:"-"`
	// Deferred says that nothing runs yet: a verdict of hold is only said, and people
	// are asked when the request comes again to be run.
	Deferred bool `json:"-"`
	// Changes says the request may change something upstream, so its record
	// must be on disk before it is forwarded.
	Changes bool `json:"changes,omitempty"`
}

// HTTP is the part of an HTTP request that rules look at.
type HTTP struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Query   string              `json:"query,omitempty"`
	Headers map[string][]string `json:"-"` // names in lower case; never recorded here, they may hold credentials
}
