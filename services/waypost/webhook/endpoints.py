"""Defines the webhook's endpoints, one per number and one per app.

An endpoint defines which secrets may sign, and for which numbers each secret is valid. An app's signature is
valid for that app's numbers only. The route decides which secrets are tried; the payload never does. If an
event names a number that does not belong to its signer, the event is stored as dead under the app's id
(`attributed`).
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
"""Reason of a dead event whose number its signer does not have; `inbox.adopt` adopts such events later."""


@dataclass(frozen=True, slots=True)
class Signer:
    """App secrets that belong together (current and previous ones), and the number ids that they are valid for."""

    secrets: tuple[str, ...]
    numbers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One callback URL as registered at Meta."""

    route: str
    app_id: str
    number_id: str
    """Number id for events that name no number or are unreadable; `app:<id>` on an app's route."""
    verify_tokens: tuple[str, ...]
    signers: tuple[Signer, ...]
    span_name: str = field(init=False)
    span_attributes: dict[str, str] = field(init=False)
    """Attributes of each delivery's span."""

    def __post_init__(self) -> None:
        attributes = {
            "http.request.method": "POST",
            "http.route": self.route,
            # TLS ends at the ingress, before this process.
            "url.scheme": "http",
            "waypost.number": self.number_id,
        }
        object.__setattr__(self, "span_name", f"POST {self.route}")
        object.__setattr__(self, "span_attributes", attributes)

    def accepts(self, verify_token: str) -> bool:
        """Returns whether this is the current or a previous verify token. All tokens are compared in constant time."""
        given = verify_token.encode("utf-8", "surrogatepass")
        found = False
        for token in self.verify_tokens:
            found |= hmac.compare_digest(given, token.encode())
        return found

    def signer(self, header: str | None, body: bytes) -> Signer | None:
        """Returns the signer of this body, or None if the signature fits none of the secrets.

        All secrets are compared in constant time.
        """
        found = None
        for signer in self.signers:
            if signature.is_valid(header, body, signer.secrets):
                found = signer
        return found

    def attributed(self, events: list[Event], signer: Signer) -> list[Event]:
        """Returns the events with the number ids under which they are stored.

        An event whose number does not belong to the signer becomes a dead event under the app's id.
        """
        numbers = signer.numbers
        for event in events:
            if event.number_id not in numbers:
                return [each if each.number_id in numbers else self._as_unregistered(each) for each in events]
        return events

    def _as_unregistered(self, event: Event) -> Event:
        return msgspec.structs.replace(
            event,
            number_id=inbox.unregistered(self.app_id, event.number_id),
            problem=event.problem or NOT_REGISTERED,
        )


Endpoints = Mapping[tuple[str, str], Endpoint]
"""Endpoints by the two parts of their path: (namespace, name), or ("apps", app id)."""


def endpoints(snapshot: Snapshot[Route]) -> Endpoints:
    """Returns every endpoint of the registry.

    If the namespace and name of a number are `apps/<app id>`, the app's route replaces the number's route.
    """
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
    """Groups the app's numbers by the secrets that they share.

    Usually there is one group. A tenant may name another tenant's app but use a secret of its own. That secret
    then signs only for the numbers of this tenant. During a rotation, some numbers have the new secret and others
    do not have it yet. All of them share the old secret, so they stay in one group.
    """
    groups: list[tuple[dict[str, None], set[str]]] = []
    for route in members:
        secrets = dict.fromkeys(secret for secret in route.app_secrets if secret)
        numbers = {route.phone_number_id, f"waba:{route.waba_id}", f"app:{app_id}"}
        others = []
        for group in groups:
            if group[0].keys() & secrets.keys():
                secrets = group[0] | secrets
                numbers |= group[1]
            else:
                others.append(group)
        groups = [*others, (secrets, numbers)]
    return tuple(Signer(tuple(secrets), frozenset(numbers)) for secrets, numbers in groups)
