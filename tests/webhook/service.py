"""Runs the webhook in this process (over ASGI) or as a process of its own (over sockets)."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import Engine

from waypost.clients import Throttle
from waypost.contracts import registry
from waypost.webhook import app
from waypost.webhook.directory import Directory
from waypost.webhook.intake import QUEUE_ROWS, Intake

from ..registry_files import publish
from . import posts

NEVER_S = 600
"""A time limit that no test reaches on a busy machine: pytest ends the test before."""

PROGRAM = f"""
from waypost import settings
from waypost.webhook import main, server
deadlines = server.Deadlines(headers_s={NEVER_S}, body_s={NEVER_S}, last_answers_s={NEVER_S})
main.run(settings.load(), deadlines=deadlines, commit_wait_s={NEVER_S})
"""
"""`waypost webhook` with time limits that only a webhook that hangs can reach."""


def publish_number(
    folder: Path,
    *,
    namespace: str = "team-a",
    name: str = "support",
    number: str = posts.NUMBER,
    waba: str = posts.WABA,
    app_id: str = posts.APP,
    secrets: tuple[str, ...] = (posts.SECRET, posts.PREVIOUS_SECRET),
    tokens: tuple[str, ...] = (posts.TOKEN, posts.PREVIOUS_TOKEN),
) -> None:
    """Writes the registry files of one number."""
    publish(
        folder,
        registry.Route(
            namespace=namespace,
            name=name,
            phone_number_id=number,
            waba_id=waba,
            app_id=app_id,
            app_secrets=secrets,
            verify_tokens=tokens,
        ),
        registry.Number(
            namespace=namespace,
            name=name,
            phone_number_id=number,
            waba_id=waba,
            app_id=app_id,
            access_token="access-token",
        ),
    )


@dataclass
class Webhook:
    """The application in this process."""

    client: httpx.AsyncClient
    directory: Directory
    intake: Intake
    woken: set[int] = field(default_factory=set)

    async def post(self, body: bytes, *, path: str = posts.PATH, secret: str = posts.SECRET) -> httpx.Response:
        """Posts a body with its signature."""
        return await self.client.post(path, content=body, headers=posts.signed(body, secret))


@contextlib.asynccontextmanager
async def serving(
    engine: Engine,
    registry_dir: Path,
    *,
    throttle: Throttle | None = None,
    wait_s: float = NEVER_S,
    queue_rows: int = QUEUE_ROWS,
) -> AsyncIterator[Webhook]:
    """Runs the application over ASGI, including its lifespan."""
    woken: set[int] = set()
    intake = Intake(engine, on_committed=woken.update, wait_s=wait_s, queue_rows=queue_rows)
    directory = Directory(registry.routes(registry_dir))
    application = app.create(directory, intake, throttle=throttle)
    transport = httpx.ASGITransport(app=application)
    async with (
        application.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://webhook") as client,
    ):
        yield Webhook(client, directory, intake, woken)


@dataclass
class Process:
    """`waypost webhook` as a process of its own, without any Redis."""

    popen: subprocess.Popen[bytes]
    url: str
    probes: str

    @classmethod
    def start(
        cls, database_url: str, registry_dir: Path, *, port: int, probe_port: int, log: Path, **more: str
    ) -> "Process":
        """Starts the process and returns before it is ready. `more` is added to its environment."""
        environment = {
            **os.environ,
            "WAYPOST_DATABASE_URL": database_url,
            "WAYPOST_REDIS_URL": "unix:///nowhere/redis.sock",
            "WAYPOST_REGISTRY_DIR": str(registry_dir),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_WEBHOOK_PORT": str(port),
            "WAYPOST_PROBE_PORT": str(probe_port),
            **more,
        }
        with log.open("ab") as output:
            popen = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=output)
        return cls(popen, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{probe_port}")

    def kill(self) -> None:
        """Sends SIGKILL, and waits until the process has ended."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> None:
        """Sends SIGTERM, and does not wait for the end."""
        self.popen.send_signal(signal.SIGTERM)

    def probe(self, path: str) -> int:
        """Returns the status of a probe, or 0 while nothing listens."""
        while True:
            try:
                return httpx.get(f"{self.probes}{path}", timeout=NEVER_S).status_code
            except httpx.ConnectError:
                return 0
            except httpx.TransportError:
                # The probe server gives a client 5 s to send its request, which a busy machine may exceed.
                continue

    def is_up(self) -> bool:
        """Returns whether the process is ready and accepts connections."""
        assert self.popen.poll() is None, f"the webhook ended with status {self.popen.returncode}"
        try:
            httpx.get(self.url, timeout=NEVER_S)
        except httpx.TransportError:
            return False
        return self.probe("/readyz") == 200
