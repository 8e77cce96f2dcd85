"""A whole installation for tests, with real PostgreSQL, Redis and service processes, and the simulated Meta."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.contracts import registry
from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis, end_with_parent
from waypost.store import counts
from waypost.store.connection import schema
from waypost.store.connection.database import connect

from ..ledger import Identity
from ..registry_files import publish

NUMBER = "106540352242922"
ACCOUNT = "102290129340398"
APP = "700700700700700"
SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "EAAguaranteetoken0001"
PROOF = appsecret_proof(TOKEN, SECRET)
VERIFY = "guaranteeverifytoken0001guaranteeverify"
PLUGINS = Path(__file__).parent / "plugins"


class Size(NamedTuple):
    """What a process uses: its threads, open files and resident memory."""

    threads: int
    files: int
    megabytes: int


class Installation:
    """A set of named processes (`webhook-1`, `worker-2`, `simulator`). Tests may kill and restart each of them."""

    def __init__(
        self, folder: Path, postgres: EmbeddedPostgres, redis: EmbeddedRedis, free_port: Callable[[], int]
    ) -> None:
        self.folder = folder
        self.postgres = postgres
        self.redis = redis
        self.engine: Engine = connect(postgres.url, application="waypost-tests", pool_size=4)
        schema.migrate(self.engine)
        self._free_port = free_port
        self._ports: dict[str, int] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._webhooks: list[str] = []
        self.environment = {
            **os.environ,
            "WAYPOST_DATABASE_URL": postgres.url,
            "WAYPOST_REDIS_URL": redis.url,
            "WAYPOST_REGISTRY_DIR": str(folder / "registry"),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_TURN_TIMEOUT_S": "3",
            "WAYPOST_SWEEP_INTERVAL_S": "0.5",
            "WAYPOST_TRACE_DIR": str(folder / "traces"),
            "PYTHONPATH": str(PLUGINS),
            "WAYPOST_BOT_PLUGINS": "ledger_bot:turn",
        }
        self.environments: dict[str, dict[str, str]] = {}
        """More variables for a service (`webhook`) or for one of its processes (`webhook-1`)."""
        self.http = httpx.Client(trust_env=False, timeout=10)
        self.identity = Identity("team", "support", NUMBER, ACCOUNT, SECRET)

    # -- processes ----------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Starts several processes together, and waits until each is ready."""
        probes = {name: self._launch(name) for name in names}
        for name, probe in probes.items():
            self.wait(partial(self._ready, name, probe), what=f"{name} to be ready")

    def _launch(self, name: str) -> int:
        service = name.partition("-")[0]
        probe = self._free_port()
        own = {**self.environments.get(service, {}), **self.environments.get(name, {})}
        environment = {**self.environment, **own, "WAYPOST_PROBE_PORT": str(probe)}
        if service in ("webhook", "simulator", "console"):
            port = self._ports.setdefault(name, self._free_port())
            environment[f"WAYPOST_{service.upper()}_PORT"] = str(port)
        if "simulator" in self._ports:
            environment["WAYPOST_GRAPH_URL"] = self.url("simulator")
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", service],
                env=environment,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - runs two system calls only
            )
        if service == "webhook" and name not in self._webhooks:
            self._webhooks.append(name)
        return probe

    def heal(self) -> None:
        """Restarts the processes that an earlier test killed, and waits until the installation is quiet."""
        for server in (self.postgres, self.redis):
            if server.pid is None:
                server.start()
        dead = [name for name in self._processes if not self.running(name)]
        if "simulator" in dead:
            self.start("simulator")
        self.start(*(name for name in dead if name != "simulator"))
        self.quiesce()

    def _ready(self, name: str, probe: int) -> bool:
        status = self._processes[name].poll()
        if status is not None:
            log = (self.folder / f"{name}.log").read_text()[-3000:]
            raise AssertionError(f"{name} ended with status {status} before it was ready:\n{log}")
        try:
            return self.http.get(f"http://127.0.0.1:{probe}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, name: str) -> None:
        """Sends SIGKILL to a process, as if its node lost power or ran out of memory."""
        self._processes[name].kill()
        self._processes[name].wait()

    def terminate(self, name: str) -> int:
        """Sends SIGTERM to a process, as a rollout does, and returns its exit status."""
        self._processes[name].terminate()
        return self._processes[name].wait(60)

    def running(self, name: str) -> bool:
        """Returns whether the process is alive."""
        return self._processes[name].poll() is None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process, for example SIGSTOP."""
        self._processes[name].send_signal(number)

    def pid(self, name: str) -> int:
        """Returns the process id."""
        return self._processes[name].pid

    def size(self, name: str) -> "Size":
        """Returns what a process uses now."""
        folder = Path(f"/proc/{self.pid(name)}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return Size(
            threads=int(status["Threads"]),
            files=len(list((folder / "fd").iterdir())),
            megabytes=int(status["VmRSS"].split()[0]) // 1024,
        )

    def url(self, name: str) -> str:
        """Returns the address on which a webhook or the simulator listens."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def close(self) -> None:
        """Kills every process that is still alive, and closes the connections."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.http.close()
        self.engine.dispose()

    # -- Meta ---------------------------------------------------------------------------------------------------

    def publish(self, *, messages_per_second: int = 1000) -> None:
        """Writes the number's registry files. Workers read the files within a second, or when they start."""
        publish(
            self.folder / "registry",
            registry.Route(
                namespace="team", name="support", phone_number_id=NUMBER, waba_id=ACCOUNT, app_id=APP,
                app_secrets=(SECRET,), verify_tokens=(VERIFY,),
            ),
            registry.Number(
                namespace="team", name="support", phone_number_id=NUMBER, waba_id=ACCOUNT, app_id=APP,
                access_token=TOKEN, app_secret_proof=PROOF, bot_plugin="ledger_bot:turn",
                messages_per_second=messages_per_second,
            ),
        )  # fmt: skip

    def seed_meta(self, *, messages_per_second: int = 1000, **behaviour: object) -> None:
        """Creates app, account, number and token in the simulator. The callback address is the first webhook."""
        meta = self.url("simulator")
        world = {
            "apps": [{"app_id": APP, "app_secret": SECRET}],
            "accounts": [
                {
                    "waba_id": ACCOUNT,
                    "numbers": [
                        {
                            "phone_number_id": NUMBER,
                            "display_phone_number": "+15550783881",
                            "status": "CONNECTED",
                            "messages_per_second": messages_per_second,
                        }
                    ],
                    "subscribed_apps": [APP],
                }
            ],
            "tokens": [{"token": TOKEN, "app_id": APP, "wabas": [ACCOUNT]}],
        }
        self.http.put(f"{meta}/_sim/world", json=world).raise_for_status()
        quick = {"sent_after_s": 0.01, "delivered_after_s": 0.02, "read_after_s": None, **behaviour}
        self.http.request("PUT", f"{meta}/_sim/behaviour", json=quick).raise_for_status()
        self.http.post(
            f"{meta}/v26.0/{APP}/subscriptions",
            headers={"Authorization": f"Bearer {APP}|{SECRET}"},
            data={
                "object": "whatsapp_business_account",
                "callback_url": f"{self.url(self._webhooks[0])}/webhooks/apps/{APP}",
                "verify_token": VERIFY,
                "fields": "messages",
            },
        ).raise_for_status()
        self.http.post(
            f"{meta}/v26.0/{NUMBER}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            json={
                "webhook_configuration": {
                    "override_callback_uri": f"{self.url(self._webhooks[0])}/webhooks/team/support",
                    "verify_token": VERIFY,
                }
            },
        ).raise_for_status()

    def greet(self, contacts: Iterable[str]) -> None:
        """Lets each contact write once through Meta, which opens the contact's 24 h window at Meta."""
        for contact in contacts:
            self.http.post(
                f"{self.url('simulator')}/_sim/inbound",
                json={"number": NUMBER, "from": contact, "text": f"hello from {contact}"},
            ).raise_for_status()

    def sent(self) -> list[dict[str, object]]:
        """Returns the messages that Meta accepted, in the order of acceptance."""
        answer = self.http.get(f"{self.url('simulator')}/_sim/sent").raise_for_status().json()
        sent: list[dict[str, object]] = answer["sent"] if isinstance(answer, dict) else answer
        return sent

    def fault(self, **fault: object) -> None:
        """Makes the simulated Meta fail in the given way."""
        self.http.post(f"{self.url('simulator')}/_sim/faults", json=fault).raise_for_status()

    # -- checks -------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], *, deadline_s: float = 240.0, what: str = "") -> None:
        """Polls until the condition holds. Fails after the deadline."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}; {self.describe()}"
            time.sleep(0.05)

    def describe(self) -> dict[str, object]:
        """Returns the counts of events and outbox rows by state and reason, which a failed `wait` shows."""
        with self.engine.connect() as connection:
            events = Counter(
                (row.kind, row.state, row.reason)
                for row in connection.execute(text("SELECT kind, state, reason FROM event"))
            )
            outbox = Counter(
                (row.state, row.reason) for row in connection.execute(text("SELECT state, reason FROM outbox"))
            )
        return {"events": dict(events), "outbox": dict(outbox)}

    def is_quiet(self) -> bool:
        """Returns whether no event waits and no message is to be sent.

        Returns False while the database starts.
        """
        try:
            with self.engine.connect() as connection:
                waiting = connection.execute(
                    text("""
                        SELECT (SELECT count(*) FROM event WHERE state = 'waiting')
                             + (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending'))
                    """)
                ).scalar_one()
        except OperationalError:
            return False
        return not waiting

    def quiesce(self) -> None:
        """Waits until every event is handled and every message is sent."""
        self.wait(self.is_quiet, what="nothing waiting")

    def unsettled(self) -> set[str]:
        """Returns the keys of messages whose reply was cut off before Meta accepted it.

        Such a reply is in state `unknown`, and is never sent again.
        """
        accepted = {str(sent["biz_opaque_callback_data"]) for sent in self.sent()}
        with self.engine.connect() as connection:
            rows = connection.execute(
                text("""
                    SELECT event.event_key, outbox.correlation FROM outbox JOIN event ON event.id = outbox.event_id
                    WHERE outbox.state = 'unknown'
                """)
            )
            return {row.event_key for row in rows if f"waypost:{row.correlation}" not in accepted}

    def reply_seconds(self, keys: Collection[str]) -> list[float]:
        """Returns the seconds from the receipt of each of these messages to the end of the send of its reply."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                text("""
                    SELECT extract(epoch FROM outbox.finished_at - event.received_at)
                    FROM outbox JOIN event ON event.id = event_id WHERE event_key = ANY(:keys) AND outbox.state = 'sent'
                """),
                {"keys": list(keys)},
            )
            return [float(seconds) for seconds in rows.scalars()]

    def event_states(self) -> dict[str, str]:
        """Returns `{event key: state}` of all messages."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT event_key, state FROM event WHERE kind = 'message'"))
            return {row.event_key: row.state for row in rows}

    def assert_counts_hold(self) -> None:
        """Asserts G9 for every number: received = duplicate + done + dead + waiting."""
        with self.engine.connect() as connection:
            for number, count in counts.by_number(connection).items():
                assert count.received == count.duplicate + count.done + count.dead + count.waiting, (number, count)
