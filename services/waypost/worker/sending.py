"""The sender's event loop, in a side thread: RQ needs the main thread, and Graph calls must overlap."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping

from waypost.sending.sender import Sender


class SenderThread:
    """Runs a `Sender` in a thread of its own. `build` is called in that thread, inside its event loop."""

    def __init__(self, build: Callable[[], Sender]) -> None:
        self._build = build
        self._sender: Sender | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Start and wait until wake-ups are taken. Raises what kept the sender from starting."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Rows of these conversations were committed."""
        assert self._sender is not None
        self._sender.wake(conversation_ids)

    def charge(self, incoming: Mapping[str, int]) -> None:
        """So many messages came in for these numbers."""
        assert self._sender is not None
        self._sender.charge(incoming)

    @property
    def alive(self) -> bool:
        """False once the sender has ended, asked or not."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Let the calls in flight end, at most `timeout_s` seconds."""
        assert self._sender is not None
        self._sender.stop()
        self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        try:
            self._sender = self._build()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._started.set()
        await self._sender.run()
