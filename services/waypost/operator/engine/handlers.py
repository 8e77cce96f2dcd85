"""kopf's part: it keeps the watch streams open and hands over their events. Nothing is decided here.

Only its stateless `on.event` handlers are used. Those that react to differences would never see drift, keep a copy of
each spec in an annotation, and their daemons and deletion handlers run side by side for one object; see
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
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.kubernetes import PAGE
from waypost.operator.engine.canary import Canary
from waypost.operator.engine.selectors import SELECTORS
from waypost.operator.engine.watching import Change, Watching, manifest_of

REQUEST_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 5.0
RETRIES_S = (0.5, 1.0, 2.0, 3.0, *(5.0,) * 12)
"""Between attempts to open a stream: it is back soon after the API server, and what is refused for a minute ends the
process. kopf's own waits grow to 21 s."""


def registry(
    watching: Watching, canary: Canary, login: Callable[[], Awaitable[kopf.ConnectionInfo]]
) -> kopf.OperatorRegistry:
    """Handlers that feed `watching` and `canary`; a registry of its own, so that two operators can share a process."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def connect(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    def referenced(change: Change, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        if manifest["kind"] == "ConfigMap" and canary.is_mine(metadata["namespace"], metadata["name"]):
            canary.seen()
        else:
            watching.referenced(change, manifest)

    for kind in OURS:
        _feed(made, kind, watching.ours)
    _feed(made, "Secret", referenced)
    _feed(made, "ConfigMap", referenced)
    _feed(made, "CronJob", watching.child)
    return made


def settings() -> kopf.OperatorSettings:
    """kopf's settings, each on purpose."""
    made = kopf.OperatorSettings()
    # The names that kopf would use are shared by all kopf operators on an object. With `on.event` alone it writes
    # nothing; should a handler of another sort be added, it writes under our name.
    made.persistence.finalizer = f"{GROUP}/kopf"
    made.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}")
    made.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{GROUP}")
    # Events are posted by the reconcilers, and only when a state changed.
    made.posting.enabled = False
    # Our kinds and namespaces are known before kopf starts: it need not be allowed to list CRDs and namespaces.
    made.scanning.disabled = True
    made.networking.request_timeout = REQUEST_TIMEOUT_S
    made.networking.connect_timeout = CONNECT_TIMEOUT_S
    made.networking.error_backoffs = RETRIES_S
    # Bookmarks come every minute: a stream without any has died, whatever TCP thinks.
    made.watching.inactivity_timeout = 70.0
    made.watching.chunk_size = PAGE
    for kind, selector in SELECTORS.items():
        made.watching.label_selectors[KINDS[kind].group, KINDS[kind].version, KINDS[kind].plural] = selector
    # A limit below the number of objects blocks the start for ever.
    made.queueing.worker_limit = None
    # A task per object is kept this long after its last event; at the start there is one for each of them.
    made.queueing.idle_timeout = 0.1
    # A pod's grace period ends a shutdown that hangs; kopf's own timer would kill whoever embeds it.
    made.process.ultimate_exiting_timeout = None
    return made


async def run(handlers: kopf.OperatorRegistry, *, namespaces: Collection[str] | None, stop: asyncio.Event) -> None:
    """Watch until `stop` is set or a signal comes, which sets it. Raises what ends a stream for good.

    kopf cancels every task that was begun after this one, so what is to outlive it is begun before.
    """

    @kopf.on.cleanup(registry=handlers)
    async def ends(**_: Any) -> None:
        # kopf hears signals by itself, and then gives its own task that waits for `stop` five seconds before it ends.
        stop.set()

    await kopf.operator(
        registry=handlers,
        settings=settings(),
        # kopf would ask the system who it is, and a container's numeric user has no name.
        identity=peering.Identity(socket.gethostname()),
        standalone=True,
        clusterwide=namespaces is None,
        namespaces=sorted(namespaces or ()),
        stop_flag=stop,
    )


def _feed(made: kopf.OperatorRegistry, name: str, sink: Callable[[Change, Manifest], None]) -> None:
    kind = KINDS[name]

    @kopf.on.event(kind.group, kind.version, kind.plural, registry=made, id=f"watch-{kind.plural}")
    async def watch(event: Any, **_: Any) -> None:
        sink(event["type"], manifest_of(event, kind.name, kind.api_version))
