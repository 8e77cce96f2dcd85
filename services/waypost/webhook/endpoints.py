"""What the webhook answers for: one endpoint per number and one per app, each with who may sign and for whom.

An app's signature speaks for that app's numbers and for nobody else's. Which secret is tried is chosen by the route,
never by the payload, and an event that names a number outside of the signer's own is kept apart (`attributed`).
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from waypost.cloudapi.inbound import signature
from waypost.cloudapi.inbound.delivery import Event
from waypost.contracts.registry import Route, Snapshot
from waypost.store import inbox

APPS = "apps"
"""`/webhooks/apps/<app id>`: first part of an app's route, where a number's route has its namespace."""

NUMBER_ROUTE = "/webhooks/{namespace}/{name}"
APP_ROUTE = "/webhooks/apps/{app_id}"

NOT_REGISTERED = "NumberNotRegistered"
"""Why an event is dead that names a number which its signer does not have here; `inbox.adopt` brings it back."""


@dataclass(frozen=True, slots=True)
class Signer:
    """App secrets that belong together (current and previous ones), and the number ids that they speak for."""

    secrets: tuple[str, ...]
    numbers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One callback URL as registered at Meta."""

    route: str
    app_id: str
    number_id: str
    """Whose a delivery is that cannot be read: the number's, or `app:<id>` on an app's route."""
    verify_tokens: tuple[str, ...]
    signers: tuple[Signer, ...]
    span_name: str = field(init=False)
    span_attributes: dict[str, str] = field(init=False)
    """What a delivery's span says of where it came in."""

    def __post_init__(self) -> None:
        attributes = {
            "http.request.method": "POST",
            "http.route": self.route,
            # What reaches the process: TLS ends before it.
            "url.scheme": "http",
            "waypost.number": self.number_id,
        }
        object.__setattr__(self, "span_name", f"POST {self.route}")
        object.__setattr__(self, "span_attributes", attributes)

    def accepts(self, verify_token: str) -> bool:
        """Whether Meta's handshake brought the current or a previous token. Constant time over all of them."""
        given = verify_token.encode("utf-8", "surrogatepass")
        found = False
        for token in self.verify_tokens:
            found |= hmac.compare_digest(given, token.encode())
        return found

    def signer(self, header: str | None, body: bytes) -> Signer | None:
        """Who signed this body, None for nobody we know. Constant time over all secrets."""
        found = None
        for signer in self.signers:
            if signature.is_valid(header, body, signer.secrets):
                found = signer
        return found

    def attributed(self, events: list[Event], signer: Signer) -> list[Event]:
        """The events, those for a number that is not the signer's set apart: dead, and under the app's own id."""
        numbers = signer.numbers
        for event in events:
            if event.number_id not in numbers:
                return [each if each.number_id in numbers else self._apart(each) for each in events]
        return events

    def _apart(self, event: Event) -> Event:
        return msgspec.structs.replace(
            event,
            number_id=inbox.unregistered(self.app_id, event.number_id),
            problem=event.problem or NOT_REGISTERED,
        )


Endpoints = Mapping[tuple[str, str], Endpoint]
"""By the two parts of the path: (namespace, name), or ("apps", app id)."""


def endpoints(snapshot: Snapshot[Route]) -> Endpoints:
    """Every endpoint of the registry. Where an app id is also a number's name in a namespace `apps`, the app has it."""
    found: dict[tuple[str, str], Endpoint] = {}
    for app_id, members in snapshot.by_app.items():
        signers = _signers(app_id, members)
        for route in members:
            own = next(signer for signer in signers if set(route.app_secrets) <= set(signer.secrets))
            found[route.namespace, route.name] = Endpoint(
                NUMBER_ROUTE,
                app_id,
                route.phone_number_id,
                route.verify_tokens,
                (Signer(route.app_secrets, own.numbers),),
            )
    for app_id, members in snapshot.by_app.items():
        tokens = tuple(dict.fromkeys(token for route in members for token in route.verify_tokens))
        found[APPS, app_id] = Endpoint(APP_ROUTE, app_id, f"app:{app_id}", tokens, _signers(app_id, members))
    return found


def _signers(app_id: str, members: Iterable[Route]) -> tuple[Signer, ...]:
    """The app's numbers, grouped by secrets in common.

    There is one group, unless a tenant names an app that is another's: with a secret of its own it signs for its own
    numbers only. Numbers of which one already has the new secret and one not yet share the old one, and stay together.
    """
    groups: list[tuple[dict[str, None], set[str]]] = []
    for route in members:
        secrets = dict.fromkeys(secret for secret in route.app_secrets if secret)
        numbers = {route.phone_number_id, f"waba:{route.waba_id}", f"app:{app_id}"}
        apart = []
        for group in groups:
            if group[0].keys() & secrets.keys():
                secrets = group[0] | secrets
                numbers |= group[1]
            else:
                apart.append(group)
        groups = [*apart, (secrets, numbers)]
    return tuple(Signer(tuple(secrets), frozenset(numbers)) for secrets, numbers in groups)
