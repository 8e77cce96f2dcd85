"""Fixtures: a number with contacts and outbox, a small strict Graph API, and senders that stop at the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts.registry import Number, Template
from waypost.sending.limits import RateLimits
from waypost.sending.sender import Sender
from waypost.store import numbers as stored_numbers
from waypost.store.connection.database import connect

NUMBER = "106540352242922"
OTHER_NUMBER = "206540352242922"


def number(number_id: str = NUMBER, **given: Any) -> Number:
    """Returns a registry entry. Fields that are not given get values that do not matter."""
    return Number(
        **{
            "namespace": "team-a",
            "name": f"n{number_id}",
            "phone_number_id": number_id,
            "waba_id": "102290129340398",
            "app_id": "1",
            "access_token": "token-1",
            "messages_per_second": 1000,
            **given,
        }
    )


TEMPLATE = Template(name="follow_up", language="en")


class Tables:
    """Methods that write rows into the database and read them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._contacts = 0

    def conversation(self, number_id: str = NUMBER, **columns: Any) -> int:
        """Inserts a conversation with a new contact and returns its id. By default, the window is open.

        Names of columns of the contact get the prefix `contact_`. Values that start with "sql:" are SQL.
        """
        self._contacts += 1
        contact = {"number_id": number_id, "wa_id": f"3933300{self._contacts:05d}"}
        contact |= {name[8:]: value for name, value in columns.items() if name.startswith("contact_")}
        own: dict[str, Any] = {
            "number_id": number_id,
            "lane": 0,
            "window_expires_at": "sql:now() + interval '1 hour'",
        }
        own |= {name: value for name, value in columns.items() if not name.startswith("contact_")}
        own["contact_id"] = self._insert("contact", contact)
        return self._insert("conversation", own)

    def queue(self, conversation_id: int, said: str = "hello", **columns: Any) -> int:
        """Inserts one outbox row with a text and returns the row's id."""
        number_id = self.one("SELECT number_id FROM conversation WHERE id = :id", id=conversation_id)
        row = {
            "number_id": number_id,
            "conversation_id": conversation_id,
            "body": json.dumps({"type": "text", "text": {"body": said}}),
            **columns,
        }
        return self._insert("outbox", row)

    def row(self, outbox_id: int) -> Any:
        """Returns the outbox row with this id."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT * FROM outbox WHERE id = :id"), {"id": outbox_id}).one()

    def states(self) -> list[str]:
        """Returns the state of every outbox row, ordered by id."""
        with self.engine.connect() as connection:
            return [row.state for row in connection.execute(text("SELECT state FROM outbox ORDER BY id"))]

    def one(self, query: str, **given: Any) -> Any:
        """Returns the first value of a query's result."""
        with self.engine.connect() as connection:
            return connection.execute(text(query), given).scalar()

    def run(self, statement: str, **given: Any) -> None:
        """Runs a statement that changes rows, in a transaction of its own."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), given)

    def _insert(self, table: str, values: dict[str, Any]) -> int:
        expressions = ", ".join(
            value[4:] if isinstance(value, str) and value.startswith("sql:") else f":{name}"
            for name, value in values.items()
        )
        with self.engine.begin() as connection:
            statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({expressions}) RETURNING id"
            return int(connection.execute(text(statement), values).scalar_one())


@pytest.fixture
def tables(database: Engine) -> Tables:
    """Returns a `Tables` for a database that contains `NUMBER` and `OTHER_NUMBER`."""
    with database.begin() as connection:
        stored_numbers.record(connection, [(n, "team-a", f"n{n}", "102290129340398") for n in (NUMBER, OTHER_NUMBER)])
    return Tables(database)


class Graph(httpx.AsyncBaseTransport):
    """A Graph API that accepts the requests that Meta would accept, and records them.

    `before` is awaited with the text of each message, before the message is answered. If it returns a response,
    that response is the answer. If it raises an error, the error counts as a failure of the network.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.payloads: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.proofs: list[str | None] = []
        self.active = 0
        self.most_active = 0
        self.active_by_recipient: dict[str, int] = {}
        self.overlapped = False
        self.before: Callable[[str], Awaitable[httpx.Response | None]] = _nothing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        payload = json.loads(request.content)
        assert request.method == "POST"
        assert payload["messaging_product"] == "whatsapp"
        self.payloads.append(payload)
        self.tokens.append(request.headers["authorization"])
        self.proofs.append(request.url.params.get("appsecret_proof"))
        if payload.get("status") == "read":
            said = f"read {payload['message_id']}"
            to = said
        else:
            to = payload.get("to") or payload["recipient"]
            assert to.startswith(("+", "US."))
            assert payload["biz_opaque_callback_data"].startswith("waypost:")
            said = payload["text"]["body"] if payload["type"] == "text" else payload["template"]["name"]
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        self.active_by_recipient[to] = self.active_by_recipient.get(to, 0) + 1
        self.overlapped |= self.active_by_recipient[to] > 1
        try:
            answer = await self.before(said)
        finally:
            self.active -= 1
            self.active_by_recipient[to] -= 1
        if answer is not None:
            return answer
        self.said.append(said)
        if payload.get("status") == "read":
            return httpx.Response(200, json={"success": True})
        return httpx.Response(
            200,
            json={
                "messaging_product": "whatsapp",
                "contacts": [{"input": to, "wa_id": to.removeprefix("+")}],
                "messages": [{"id": f"wamid.{len(self.payloads)}"}],
            },
        )


async def _nothing(_said: str) -> httpx.Response | None:
    return None


def refusal(code: int, status: int = 400, *, said: str = "", **headers: str) -> httpx.Response:
    """Returns a refusal in Meta's error envelope."""
    error = {"error": {"message": said or f"(#{code})", "type": "OAuthException", "code": code, "fbtrace_id": "A1"}}
    return httpx.Response(status, json=error, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.fixture
def graph() -> Graph:
    """Returns a Graph API for the senders of this test."""
    return Graph()


@pytest.fixture
def registry() -> dict[str, Number]:
    """Returns the registry in which senders look numbers up. A test may change it while a sender runs."""
    return {number_id: number(number_id) for number_id in (NUMBER, OTHER_NUMBER)}


@pytest.fixture
async def start(
    anyio_backend: str, database_url: str, graph: Graph, registry: dict[str, Number]
) -> AsyncIterator[Callable[..., Sender]]:
    """Yields `start(owner="a", …)`, which runs a sender. At the end all senders are stopped; none may have failed.

    Each sender has its own database connections, which are named like its owner. It may have its own `numbers`.
    """
    running: list[tuple[Sender, asyncio.Task[None], GraphClient]] = []
    engines: list[Engine] = []

    def begin(owner: str = "a", **given: Any) -> Sender:
        numbers = given.pop("numbers", registry.get)
        client = GraphClient("http://graph.test", "v26.0", transport=given.pop("transport", graph), timeout_s=10)
        options: dict[str, Any] = {"concurrency": 50, "sweep_interval_s": 0.1, **given}
        engines.append(connect(database_url, application=owner, pool_size=2))
        engines.append(connect(database_url, application=owner, pool_size=1))
        sender = Sender(engines[-2], client, RateLimits(engines[-1]), numbers, owner=owner, **options)
        running.append((sender, asyncio.create_task(sender.run()), client))
        return sender

    yield begin
    for sender, _task, _client in running:
        sender.stop()
    for _sender, task, client in running:
        await asyncio.wait_for(task, 20)
        await client.aclose()
    for engine in engines:
        engine.dispose()
