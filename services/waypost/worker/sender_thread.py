"""Runs the sender's event loop in a thread of its own: RQ needs the main thread, and Graph calls must overlap."""

import threading
from collections.abc import Callable, Iterable, Mapping

import structlog
import uvloop

from waypost.sending.sender import Sender

log = structlog.get_logger(__name__)


class SenderThread:
    """Runs a `Sender` in a thread of its own. `build` is called in that thread, inside its event loop."""

    def __init__(self, build: Callable[[], Sender], *, ended: threading.Event) -> None:
        """Creates the thread. `ended` is set when the sender ends for any reason.

        The worker then stops, because it must not run without a sender.
        """
        self._build = build
        self._ended = ended
        self._sender: Sender | None = None
        self._started = threading.Event()
        self.failure: BaseException | None = None
        """The error that broke the sender; None while it runs and after it was stopped."""
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Starts the thread and waits until the sender accepts wake-ups. Raises the error that prevents its start."""
        self._thread.start()
        self._started.wait()
        if self._sender is None and self.failure is not None:
            raise self.failure

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Wakes the sender for conversations whose rows were committed."""
        assert self._sender is not None
        self._sender.wake(conversation_ids)

    def charge(self, incoming: Mapping[str, int]) -> None:
        """Passes counts of inbound messages, by number, to the sender's rate limits."""
        assert self._sender is not None
        self._sender.charge(incoming)

    def problem(self) -> str | None:
        """Returns why the sender sends nothing, or None if it works."""
        return None if self._thread.is_alive() else "the sender has stopped"

    def stop(self, timeout_s: float) -> None:
        """Stops the sender. Waits at most `timeout_s` seconds for the calls in flight."""
        assert self._sender is not None
        self._sender.stop()
        self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        try:
            uvloop.run(self._main())  # a call to Graph costs a tenth less on it
        except BaseException as error:
            self.failure = error
            log.critical("the sender broke down", exc_info=error)
        finally:
            self._started.set()
            self._ended.set()

    async def _main(self) -> None:
        self._sender = self._build()
        self._started.set()
        await self._sender.run()
