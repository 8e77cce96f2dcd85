"""A webhook process, and a client whose deliveries must be answered whatever others send."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine

from ...webhook import posts
from ...webhook.service import NEVER_S, Process, publish_number
from .clients import Address, Bystander, memory_mib

MOST_MIB = 200
"""The memory that a webhook process never exceeds."""


@dataclass
class Attacked:
    """A webhook process under attack, and the good deliveries beside the attack."""

    process: Process
    address: Address
    bystander: Bystander
    rest_mib: float
    """Memory of the process before the attack."""

    @property
    def pid(self) -> int:
        """Returns the id of the process."""
        return self.process.popen.pid

    def answers(self, status: int) -> int:
        """Returns how many requests the process has answered with this status, by its metric."""
        lines = httpx.get(f"{self.process.probes}/metrics", timeout=NEVER_S).text.splitlines()
        start = f'waypost_deliveries_total{{status="{status}"}} '
        return next((int(float(line.removeprefix(start))) for line in lines if line.startswith(start)), 0)


@pytest.fixture
def attacked(  # noqa: PLR0917 - pytest gives what the parameters name
    tmp_path: Path,
    database: Engine,
    database_url: str,
    free_port: Callable[[], int],
    wait_for: Callable[..., object],
    figure: Callable[..., None],
) -> Iterator[Attacked]:
    """Yields a webhook process to attack, on a fresh database.

    Afterwards every good delivery must have been answered with 200 and stored, and the memory of the process must
    never have exceeded `MOST_MIB`. The deadlines of the process are never reached, so only its limits protect it.
    """
    folder = tmp_path / "registry"
    publish_number(folder)
    log = tmp_path / "webhook.log"
    process = Process.start(database_url, folder, port=free_port(), probe_port=free_port(), log=log)
    try:
        wait_for(process.is_up, what="the webhook to be ready")
        url = urlsplit(process.url)
        address = (str(url.hostname), int(url.port or 0))
        with Bystander(address) as bystander:
            wait_for(lambda: bystander.answers.total() >= 20, what="the first good deliveries")
            yield Attacked(process, address, bystander, memory_mib(process.popen.pid))
        figure("good p99", round(bystander.p99_ms, 1), "ms", aim="at most 100 ms")
        figure("good deliveries repeated", bystander.repeated, aim="0 on a quiet machine")
        figure("highest memory", round(memory_mib(process.popen.pid), 1), "MiB", aim=f"at most {MOST_MIB} MiB")
        assert bystander.answers == {200: len(bystander.keys)}
        assert set(bystander.keys) <= posts.stored(database).keys()
        assert memory_mib(process.popen.pid) <= MOST_MIB
    finally:
        process.kill()
