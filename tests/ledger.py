"""Records the messages to a number with their acknowledgements and outcomes, to prove that no message is lost."""

import random
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

import httpx
import msgspec

from waypost.cloudapi.inbound.signature import sign


class Identity(NamedTuple):
    """The number that gets the deliveries, and the app secret that signs them."""

    namespace: str
    name: str
    number: str
    account: str
    app_secret: str


class Installation(Protocol):
    """The Waypost installation that a ledger writes to and checks.

    It is either a set of processes of a test, or a release in a cluster.
    """

    identity: Identity
    http: httpx.Client

    def url(self, name: str) -> str:
        """Returns the address on which a webhook listens."""

    def wait(self, condition: Callable[[], object], *, deadline_s: float = ..., what: str = ...) -> None:
        """Polls until the condition holds."""

    def event_states(self) -> dict[str, str]:
        """Returns `{event key: state}` of all messages."""

    def sent(self) -> list[dict[str, object]]:
        """Returns the messages that Meta accepted, in the order of acceptance."""

    def describe(self) -> object:
        """Returns what a failure should show of the installation."""

    def assert_counts_hold(self) -> None:
        """Asserts G9 for every number: received = duplicate + done + dead + waiting."""


_seeds = count()


@dataclass
class Ledger:
    """Records the id of every message that got a 200, and checks afterwards what happened to each of them."""

    installation: Installation
    seed: int = field(default_factory=lambda: next(_seeds))
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    """A part of every id and text, so that messages of an earlier run are not taken for this run's."""
    acknowledged: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._counts = count(1)

    def message(self, contact: str, body: str | None = None) -> dict[str, object]:
        """Returns a new message of that contact. Its time stamp is later than those of all earlier messages."""
        number = next(self._counts)
        identity = f"wamid.L{self.run}{number:06}"
        self.texts[identity] = body if body is not None else f"{contact} {self.run}-{number}"
        self.order[contact].append(identity)
        return {
            "from": contact,
            "id": identity,
            "timestamp": str(int(time.time()) - 5000 + number),
            "type": "text",
            "text": {"body": self.texts[identity]},
        }

    def body(self, messages: Sequence[dict[str, object]]) -> bytes:
        """Returns the body of a delivery with these messages."""
        identity = self.installation.identity
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": identity.number},
            "contacts": [{"wa_id": m["from"], "profile": {"name": "Ada"}} for m in messages],
            "messages": list(messages),
        }
        entry = {"id": identity.account, "changes": [{"field": "messages", "value": value}]}
        return msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})

    def request(self, body: bytes) -> tuple[str, dict[str, str]]:
        """Returns the path and the headers of a delivery."""
        identity = self.installation.identity
        headers = {"X-Hub-Signature-256": sign(identity.app_secret, body), "Content-Type": "application/json"}
        return f"/webhooks/{identity.namespace}/{identity.name}", headers

    def post(self, body: bytes, webhook: str) -> int | None:
        """Delivers a body once, and returns the status, or None if the connection broke."""
        path, headers = self.request(body)
        try:
            return self.installation.http.post(
                self.installation.url(webhook) + path, content=body, headers=headers
            ).status_code
        except httpx.TransportError:
            return None

    def deliver(self, messages: Sequence[dict[str, object]], webhooks: Sequence[str]) -> None:
        """Delivers messages to randomly chosen webhooks until they are acknowledged. Meta retries for seven days."""
        body = self.body(messages)
        self.installation.wait(
            lambda: self.post(body, self.random.choice(list(webhooks))) == 200, what="an acknowledgement"
        )
        self.acknowledged.extend(str(message["id"]) for message in messages)

    def assert_nothing_lost(self, *, dead: Iterable[str] = ()) -> None:
        """Asserts that every acknowledged message is handled, and that exactly the messages in `dead` are dead."""
        states = self.installation.event_states()
        lost = [identity for identity in self.acknowledged if identity not in states]
        assert not lost, f"{len(lost)} acknowledged messages are gone: {lost[:5]}"
        assert {identity for identity in self.acknowledged if states[identity] == "dead"} == set(dead)
        assert all(states[identity] in ("done", "dead") for identity in self.acknowledged)
        self.installation.assert_counts_hold()

    def assert_replies(self, *, missing: Iterable[str] = ()) -> None:
        """Asserts that each acknowledged message has one reply, in order within each conversation.

        Messages in `missing` have no reply.
        """
        missing = set(missing)
        replies: dict[str, list[str]] = defaultdict(list)
        for sent in self.installation.sent():
            replies[str(sent["to"]).lstrip("+")].append(str(sent["text"]))
        acknowledged = set(self.acknowledged)
        ours = set(self.texts.values())
        for contact, identities in self.order.items():
            wanted = [self.texts[i] for i in identities if i in acknowledged and i not in missing]
            got = [reply for reply in replies[contact] if reply in ours]
            assert got == wanted, (
                f"{contact}: {Counter(got) - Counter(wanted)} more, {Counter(wanted) - Counter(got)} less; "
                f"{self.installation.describe()}"
            )
