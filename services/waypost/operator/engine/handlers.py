"""Uses kopf to keep watch streams open, and passes their events on without deciding anything.

Only kopf's stateless `on.event` handlers are used. kopf's change handlers never see drift and keep a copy of
each spec in an annotation. kopf's daemons and deletion handlers run side by side for one object. See
docs/adr/0006-how-kopf-is-used.md.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import kopf
from kopf._core.engines import peering  # `operator` takes an Identity, which kopf does not export

from waypost.operator.api.kinds import KINDS, OURS
from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.connection import TIMEOUTS, Timeouts
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.kubernetes import PAGE
from waypost.operator.engine.canary import Canary
from waypost.operator.engine.event_router import Change, EventRouter, manifest_of
from waypost.operator.engine.selectors import SELECTORS

RETRIES_S = (0.5, 1.0, 2.0, 3.0, *(5.0,) * 12)
"""Seconds to wait between attempts to open a stream. They are short, so that the stream is open again soon after the
API server is back. A stream that is refused for a minute ends the process. kopf's own waits grow to 21 s."""


def registry(
    router: EventRouter, canary: Canary, login: Callable[[], Awaitable[kopf.ConnectionInfo]]
) -> kopf.OperatorRegistry:
    """Returns handlers that pass events to `router` and `canary`.

    The handlers are in a registry of their own instead of kopf's global registry. Two operators can therefore
    share a process.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def connect(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    def on_config_map(change: Change | None, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        if canary.is_canary(metadata["namespace"], metadata["name"]):
            canary.seen()
        else:
            router.on_referenced(change, manifest)

    for kind in OURS:
        _watch(handlers, kind, router.on_own)
    _watch(handlers, "Secret", router.on_referenced)
    _watch(handlers, "ConfigMap", on_config_map)
    _watch(handlers, "CronJob", router.on_cron_job)
    return handlers


def settings(timeouts: Timeouts) -> kopf.OperatorSettings:
    """Returns kopf's settings. A comment gives the reason for each setting that is not the default."""
    chosen = kopf.OperatorSettings()
    # By default all kopf operators write under the same names. With `on.event` alone kopf writes nothing; if a handler
    # of another kind is ever added, it writes under our name.
    chosen.persistence.finalizer = f"{GROUP}/kopf"
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}")
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{GROUP}")
    # Reconcilers post Kubernetes Events themselves, and only when a condition changed.
    chosen.posting.enabled = False
    # Our kinds and namespaces are known before kopf starts, so it needs no permission to list CRDs and namespaces.
    chosen.scanning.disabled = True
    chosen.networking.request_timeout = timeouts.request_s
    chosen.networking.connect_timeout = timeouts.connect_s
    chosen.networking.error_backoffs = RETRIES_S
    # A stream without bookmarks is dead, even if its TCP connection still looks open.
    chosen.watching.inactivity_timeout = timeouts.silence_s
    chosen.watching.chunk_size = PAGE
    for kind, selector in SELECTORS.items():
        chosen.watching.label_selectors[KINDS[kind].group, KINDS[kind].version, KINDS[kind].plural] = selector
    # kopf has a task per object at the start: a limit below the number of objects would block the start for ever.
    chosen.queueing.worker_limit = None
    # kopf keeps the task of an object this long after its last event. With its default, the start would hold a task
    # for each of thousands of objects at the same time.
    chosen.queueing.idle_timeout = 0.1
    # A pod's grace period ends a shutdown that hangs; kopf's own timer would kill a process that embeds it (tests).
    chosen.process.ultimate_exiting_timeout = None
    return chosen


async def run(
    handlers: kopf.OperatorRegistry,
    *,
    namespaces: Collection[str] | None,
    stop: asyncio.Event,
    timeouts: Timeouts = TIMEOUTS,
) -> None:
    """Keeps the streams open until `stop` is set. A signal sets `stop` too.

    Raises the error that ended a stream for good. When kopf ends, it cancels every task that was created after
    kopf started. A task that must outlive kopf must therefore be created before kopf starts.
    """

    @kopf.on.cleanup(registry=handlers)
    async def set_stop(**_: Any) -> None:
        # kopf handles signals itself. Unless `stop` is set then, it waits five seconds for its own task that awaits it.
        stop.set()

    await kopf.operator(
        registry=handlers,
        settings=settings(timeouts),
        # By default kopf asks the system for the user's name, and the numeric user of a container has none.
        identity=peering.Identity(socket.gethostname()),
        standalone=True,
        clusterwide=namespaces is None,
        namespaces=sorted(namespaces or ()),
        stop_flag=stop,
    )


def _watch(handlers: kopf.OperatorRegistry, name: str, on_event: Callable[[Change | None, Manifest], None]) -> None:
    kind = KINDS[name]

    @kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers, id=f"watch-{kind.plural}")
    async def watch(event: Any, **_: Any) -> None:
        change = None if event["type"] is None else Change(event["type"])
        on_event(change, manifest_of(event, kind.name, kind.api_version))
