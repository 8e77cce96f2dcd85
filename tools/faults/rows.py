"""The faults that Waypost is tested against: what fails, how it is injected, and what is expected."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One fault. Tests that inject it carry the marker `fault` with its id."""

    id: str
    fault: str
    """What fails, and how a test makes it fail."""
    expected: str
    open: str = ""
    """Why no test exists yet; empty if tests exist."""


GROUPS = {
    "S": "Storage",
    "P": "Processes",
    "G": "Meta's Graph API",
    "D": "Deliveries",
    "X": "Security and tenants",
    "K": "Kubernetes and the operator",
}
"""The title of each group, by the first letter of its rows."""

_STORAGE = (
    Row(
        "S1",
        "Redis gets SIGKILL under load, with its append-only file",
        "nothing lost; deliveries are acknowledged without Redis",
    ),
    Row(
        "S2",
        "Redis loses all data under load: FLUSHALL, a kill, an empty volume",
        "nothing lost; the sweeper finds what nothing wakes",
    ),
    Row(
        "S3",
        "Redis answers after 5 s, accepts connections and never answers, or resets them, under load",
        "nothing lost; acknowledgements within 1 s (p99); the number of threads stays bounded",
    ),
    Row(
        "S4",
        "Redis is out of memory, cannot save (MISCONF), or may evict keys",
        "nothing lost; an evicting policy is named before the start and by `waypost doctor`",
    ),
    Row(
        "S5",
        "the Redis primary is killed and a Sentinel promotes its replica",
        "nothing lost; writes go to the new primary",
    ),
    Row(
        "S6",
        "PostgreSQL is away, then read-only, then its disk is full",
        "no false 200; Meta repeats, and nothing is lost",
    ),
    Row(
        "S7",
        "PostgreSQL commits, and the connection breaks before its answer",
        "the repeated delivery finds its row; one effect",
    ),
)

_PROCESSES = (
    Row(
        "P1",
        "workers get SIGKILL in the middle of turns and sends",
        "nothing lost; one effect per event; no blind resend",
    ),
    Row(
        "P2",
        "workers get SIGTERM at random moments, many times, also between RQ's pop and the job",
        "nothing lost; one effect per event",
    ),
    Row(
        "P3",
        "a worker stops (SIGSTOP) until its leases are over, and continues (SIGCONT)",
        "its late writes are refused; one effect per event",
    ),
    Row("P4", "webhooks get SIGTERM under load, one after another", "each delivery gets a 200; no connection breaks"),
    Row(
        "P5",
        "a message makes the bot crash its process, loop for ever or use up memory",
        "dead after three attempts, with its reason; other conversations are answered",
    ),
    Row(
        "P6",
        "the clock of a process is 10 minutes ahead or behind, or jumps",
        "leases and schedules follow the database's clock; limits hold; one effect per event",
    ),
    Row(
        "P7",
        "power loss: PostgreSQL and Redis lose everything that was not synced to disk",
        "nothing acknowledged is lost",
    ),
)

_GRAPH = (
    Row(
        "G1",
        "the Graph API answers 500, 502 or 503 for a minute",
        "few calls during it; everything is sent afterwards, once",
    ),
    Row(
        "G2",
        "the Graph API throttles: 429, 130429, 80007, Retry-After",
        "this number slows down and recovers; other numbers do not",
    ),
    Row("G3", "the Graph API refuses a pair of number and contact: 131056", "only this pair waits; its order holds"),
    Row(
        "G4",
        "the Graph API hangs, answers one byte per second, or with 10 GB of zeros in gzip",
        "deadlines and a limit of decoded bytes; other numbers are answered",
    ),
    Row(
        "G5",
        "the access token is revoked: 190",
        "the number pauses, its condition says so, nothing is dropped; a new token resumes it",
    ),
    Row(
        "G6",
        "the connection breaks after Meta accepted a message",
        "`unknown`, never sent again, resolved by the status",
    ),
    Row(
        "G7",
        "the Graph API refuses a message for good: 100, 131026, 131047, 132000 and others",
        "never retried; fails once with its reason",
    ),
)

_DELIVERIES = (
    Row("D1", "each event arrives five times, shuffled, at several webhooks at once", "one effect"),
    Row(
        "D2",
        "statuses arrive out of order, without `delivered`, or after `failed`",
        "a message never goes back to an earlier state",
    ),
    Row("D3", "a signed body of eight days ago is repeated", "stored once; no reply to an old message"),
    Row(
        "D4",
        "a delivery of a thousand messages has a bad one",
        "999 are handled, one is dead; events are compared, not bodies",
    ),
    Row("D5", "a body of 3 MB, one byte too many, no length", "200, 413, 413; the event loop goes on"),
    Row("D6", "a body says that it is compressed", "415; it is not inflated"),
    Row(
        "D7",
        "invalid UTF-8, a BOM, NUL, lone surrogates, NaN, 5,000 digits, depth 100,000, 100,000 or repeated keys",
        "unsigned: refused before it is parsed; signed: 200, dead with its reason if it cannot be read",
    ),
    Row("D8", "keys whose hashes collide", "parsed as fast as other keys"),
    Row("D9", "an unknown field, message type or enumeration value", "stored and acknowledged"),
    Row(
        "D10",
        "thousands of half-open requests beside good ones",
        "deadlines close them; good deliveries are acknowledged",
    ),
    Row(
        "D11",
        "Content-Length with Transfer-Encoding, twice, `xchunked`, bare LF, blank before a colon, bad chunk end",
        "400, and the connection is closed",
    ),
)

_SECURITY = (
    Row(
        "X1",
        "signatures: wrong, empty, SHA-1, two; another tenant's secret; the time a comparison takes",
        "equal answers; the time says nothing",
    ),
    Row("X2", "the app secret is rotated", "both secrets are valid for a while; no delivery is refused"),
    Row("X3", "guesses of the verify token", "throttled per address; never logged"),
    Row("X4", "canaries: phone numbers, texts, names, tokens and secrets", "in no log, trace, metric, event or Redis"),
    Row("X5", "a job in Redis that names other code", "refused, counted and shown"),
    Row("X6", "an object that names a Secret of another namespace or without the label", "refused; the token stays"),
    Row("X7", "the rights of each service account", "exactly the recorded ones"),
    Row(
        "X8",
        "addresses of media that lead elsewhere: redirects, DNS rebinding, private addresses",
        "refused; no token leaves",
    ),
    Row(
        "X9",
        "names and types of media that lie",
        "our id as the name, the type by content",
        open="Waypost stores no media yet",
    ),
    Row("X10", "placeholders and format strings in the messages of users", "inserted as they are"),
    Row(
        "X11",
        "HTML and scripts in names, messages and templates on the status page",
        "escaped; a policy that runs no script",
    ),
    Row("X12", "a number's process reads the rows of another", "every query carries its number"),
    Row(
        "X13",
        "the supply chain: pinned hashes, a list of parts, a signed image",
        "checked before each release",
        open="images are not signed yet",
    ),
)

_KUBERNETES = (
    Row("K1", "the API server is stopped under load", "messages are answered; changes are applied when it returns"),
    Row(
        "K2",
        "the operator is killed after its k-th write, for every k",
        "the same objects in the end; no call repeated blindly",
    ),
    Row("K3", "a watch goes silent", "changes are seen after its deadline"),
    Row("K4", "a thousand numbers and schedules are created at once", "all ready; bounded memory"),
    Row("K5", "the operator is away at the times of schedules", "they run once, at their times"),
    Row("K6", "numbers or namespaces are deleted while the operator is away", "finalizers end when it returns"),
    Row("K7", "an upgrade and a rollback under load, with old pods alive", "nothing lost; one effect per event"),
    Row("K8", "a node is drained; pods are scaled in", "nothing lost; disruption budgets hold"),
)

ROWS = {row.id: row for row in (*_STORAGE, *_PROCESSES, *_GRAPH, *_DELIVERIES, *_SECURITY, *_KUBERNETES)}
"""Each row by its id, in the order of the table."""
