"""Defines the metrics of every process, which `/metrics` serves in Prometheus' text format.

The label `number` is Meta's phone number *id* (or `waba:<id>`), never a phone number. Each process counts its
own work. `waypost.analytics.gauges` exports the counts that the database holds for the whole installation.
"""

from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

# `_created` would double the number of series, and no rate() needs it.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

build_info = Info("waypost_build", "Version of the running code.")
build_info.info({"version": version("waypost")})

events_received_total = Counter(
    "waypost_events_received_total",
    "Events from signed deliveries that were committed, duplicates included.",
    ["number", "kind"],
)
events_duplicate_total = Counter(
    "waypost_events_duplicate_total",
    "Events that had been received before and were dropped by the inbox (Meta redelivers for up to 7 days).",
    ["number", "kind"],
)
events_dead_total = Counter(
    "waypost_events_dead_total",
    "Events that were given up, by reason; `waypost dead list` shows them.",
    ["number", "reason"],
)
events_unknown_total = Counter(
    "waypost_events_unknown_total",
    "What this version does not know in events, by Meta's name, such as messages.type=poll; it is stored all the same.",
    ["name"],
)
deliveries_total = Counter("waypost_deliveries_total", "Webhook requests answered, by HTTP status.", ["status"])
delivery_seconds = Histogram(
    "waypost_delivery_seconds",
    "Time from a delivery's headers to its answer; Meta waits for it, so the p99 should be below 1 s.",
    buckets=_SHORT,
)
intake_batch_size = Histogram(
    "waypost_intake_batch_size",
    "Events committed together in one group commit.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
)
intake_commit_seconds = Histogram(
    "waypost_intake_commit_seconds", "Time of one group commit in the database.", buckets=_SHORT
)
signature_failures_total = Counter(
    "waypost_signature_failures_total",
    "Deliveries refused for a missing or wrong signature: a stranger's, or the app secret here is out of date.",
)
handshakes_total = Counter(
    "waypost_handshakes_total", "Callback verifications by Meta, by result: accepted, refused, throttled.", ["result"]
)

wakeups_total = Counter(
    "waypost_wakeups_total",
    "Lane wake-ups put into Redis, by result: queued, joined (one was waiting), failed (the sweeper wakes the lane).",
    ["result"],
)
redis_refused_total = Counter(
    "waypost_redis_refused_total",
    "Jobs, wake-ups and keys in Redis that another program wrote, by reason; each was removed and nothing of it ran.",
    ["reason"],
)
lane_drains_total = Counter(
    "waypost_lane_drains_total",
    "Drains of a lane, by result: emptied, sliced, held (by another process), lost.",
    ["result"],
)
swept_lanes_total = Counter("waypost_swept_lanes_total", "Lanes the sweeper had to wake.")
turns_total = Counter("waypost_turns_total", "Bot turns, by number and result.", ["number", "result"])
turn_seconds = Histogram("waypost_turn_seconds", "Time of one bot turn, its transaction included.", buckets=_SHORT)
hosts = Gauge("waypost_hosts", "Host processes of this worker, which run the turns of plugins.")
hosts_killed_total = Counter(
    "waypost_hosts_killed_total", "Host processes that were killed because a plugin's turn took too long."
)
ack_to_done_seconds = Histogram(
    "waypost_ack_to_done_seconds", "Time from an event's commit in the inbox until it was handled.", buckets=_LONG
)

sends_total = Counter(
    "waypost_sends_total",
    "Outbox rows decided, by number and result: sent, failed, unknown, retry, paused, refused by the gate.",
    ["number", "result"],
)
graph_call_seconds = Histogram(
    "waypost_graph_call_seconds",
    "Time of calls to the Graph API, by call and result.",
    ["call", "result"],
    buckets=_LONG,
)
graph_calls_in_flight = Gauge("waypost_graph_calls_in_flight", "Calls to the Graph API that wait for their answer.")
rate_limit_wait_seconds = Histogram(
    "waypost_rate_limit_wait_seconds",
    "Time that a message had to wait for Meta's limits, by scope: number, pair or row.",
    ["scope"],
    buckets=_LONG,
)
starts_missed_total = Counter(
    "waypost_starts_missed_total", "Calls that were too late for their start and asked the limits for another one."
)
redis_away = Gauge("waypost_redis_away", "1 while Redis is away and this worker asks the database for work.")
statuses_total = Counter(
    "waypost_statuses_total", "Message statuses from Meta that were applied, by status.", ["number", "status"]
)

reconcile_total = Counter(
    "waypost_reconcile_total",
    "Reconciles by kind and result: ready, waiting, failed, stalled, gone, conflict, away (no API server), error.",
    ["kind", "result"],
)
reconcile_seconds = Histogram("waypost_reconcile_seconds", "Time of one reconcile, by kind.", ["kind"], buckets=_LONG)
reconcile_errors_total = Counter(
    "waypost_reconcile_errors_total",
    "Reconciles that ended by an exception, by kind and class of the exception; each is retried.",
    ["kind", "error"],
)
reconcile_running = Gauge("waypost_reconcile_running", "Reconciles that are running.")
reconcile_waiting = Gauge("waypost_reconcile_waiting", "Objects whose reconcile is due and has not started.")
resync_lag_seconds = Histogram(
    "waypost_resync_lag_seconds", "Delay between the moment a reconcile is due and its start.", buckets=_LONG
)
condition = Gauge(
    "waypost_condition", "Objects by kind, type of condition, and its status.", ["kind", "type", "status"]
)
token_days_left = Gauge(
    "waypost_token_days_left", "Days until a number's access token expires; absent for one that never does.", ["number"]
)
registry_bytes = Gauge(
    "waypost_registry_bytes",
    "Bytes in each Secret of the registry, by content: entries for the webhook, entries for workers (number), bots.",
    ["content", "shard"],
)
kubernetes_call_seconds = Histogram(
    "waypost_kubernetes_call_seconds",
    "Time of requests to the Kubernetes API, by verb, kind and result.",
    ["verb", "kind", "result"],
    buckets=_SHORT,
)
canary_silence_seconds = Gauge(
    "waypost_canary_silence_seconds", "Seconds since the operator last saw a change of its own through its watch."
)
