"""Answers the `GET` with which Meta checks that the callback URL is ours.

Meta sends this `GET` whenever the URL or its token is set or edited. Source: Meta, "Create a webhook
endpoint".
"""

from collections.abc import Sequence

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from waypost.clients import Network, Throttle, client_address
from waypost.telemetry import metrics
from waypost.webhook.directory import Directory

LONGEST_CHALLENGE = 1024
"""Most characters of a challenge that are echoed; Meta's challenge is a number."""

log = structlog.get_logger(__name__)


class Handshake:
    """The ASGI app that answers `GET` on every callback URL."""

    def __init__(self, directory: Directory, throttle: Throttle, trusted_proxies: Sequence[Network]) -> None:
        self._directory = directory
        self._throttle = throttle
        self._trusted_proxies = trusted_proxies

    async def answer(self, request: Request) -> Response:
        """Answers 200 with the challenge if the token is right, 403 if it is wrong, 404 if the route is unknown.

        A client that sent too many wrong tokens on this route gets 429 for a wrong one. The right token is always
        accepted: behind a proxy Meta may share its address with the sender of wrong ones, and would not be able to
        verify the callback. Guessing is useless without a limit. The operator makes tokens of 40 random letters
        and digits (238 bits), so a million guesses a second for a billion years find none. A token only lets its
        holder see that the callback is ours. Deliveries need the app secret.
        """
        key = (request.path_params["namespace"], request.path_params["name"])
        endpoint = self._directory.endpoints.get(key)
        if endpoint is None:
            return PlainTextResponse("not found\n", 404)
        peer = request.client.host if request.client else None
        forwarded_for = ",".join(request.headers.getlist("x-forwarded-for"))
        client = (client_address(peer, forwarded_for, self._trusted_proxies), *key)
        asked = request.query_params
        challenge = asked.get("hub.challenge", "")
        right = endpoint.accepts(asked.get("hub.verify_token", ""))
        if not (right and asked.get("hub.mode") == "subscribe" and 0 < len(challenge) <= LONGEST_CHALLENGE):
            if self._throttle.fail(client):
                metrics.handshakes_total.labels("throttled").inc()
                return PlainTextResponse("too many failures\n", 429, {"retry-after": "60"})
            metrics.handshakes_total.labels("refused").inc()
            log.warning("handshake refused", route=endpoint.route, number=endpoint.number_id)
            return PlainTextResponse("verify token missing or wrong\n", 403)
        metrics.handshakes_total.labels("accepted").inc()
        log.info("handshake accepted", route=endpoint.route, number=endpoint.number_id)
        # Plain text that no browser may take for HTML, since the challenge comes from the caller.
        return PlainTextResponse(challenge, headers={"x-content-type-options": "nosniff"})
