"""Tests that rotate credentials while Meta delivers messages."""

import time
from collections import Counter
from functools import partial

import msgspec
import pytest

from waypost.cloudapi.inbound.signature import sign

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import APP, Installed, secret

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555150{number:04}" for number in range(12)]
PER_SECOND = 10
SERIAL = 500
NEW_SECRET, NEW_TOKEN = "canary-app-secret-rotated", "canary-access-token-rotated"


@pytest.mark.fault("X2")
@pytest.mark.fault("G5")
def test_new_credentials_need_no_restart_and_refuse_no_delivery(installed: Installed) -> None:
    """A rotation of credentials needs no restart, and every delivery gets a 200.

    This holds for signatures with the old and with the new app secret. Replies are still sent after the old token
    is revoked.
    """
    with installed.team("team-rotated") as team:
        before = installed.another(team, "rotated", SERIAL)
        before.declare()
        before.greet(CONTACTS)
        after = installed.another(team, "rotated", SERIAL)
        after.identity = before.identity._replace(app_secret=NEW_SECRET)
        lives = installed.lives()

        with Traffic(Ledger(before), CONTACTS[::2], per_second=PER_SECOND) as old:
            old.wait_for_more(PER_SECOND)
            app, token = _rotate(before)
            for pod in installed.pods("webhook"):
                installed.wait(partial(_accepts, after, pod), what=f"{pod} to accept the new signature")
            installed.wait(
                lambda: all(each["accessToken"] == NEW_TOKEN for each in after.published("worker")),
                what="the new token in every worker",
            )
            with Traffic(Ledger(after), CONTACTS[1::2], per_second=PER_SECOND) as new:
                new.wait_for_more(PER_SECOND)
                installed.meta("PUT", "world", {"tokens": [{"token": token, "app_id": app, "revoked": True}]})
                new.wait_for_more(PER_SECOND)
                old.wait_for_more(PER_SECOND)

        for traffic in (old, new):
            assert sum(traffic.answers.values(), Counter()).keys() == {200}
            traffic.ledger.installation.wait(installed.is_quiet, what="nothing waiting")
            traffic.ledger.assert_nothing_lost()
            traffic.ledger.assert_replies()
        assert installed.lives() == lives
        assert installed.is_ready("rotated", namespace=team)
        seen = installed.kubectl("get", "events,whatsapp", "--output=json", namespace=team)
        assert not {each for each in (NEW_SECRET, NEW_TOKEN, token, before.identity.app_secret) if each in seen}


def _rotate(number: Installed) -> tuple[str, str]:
    """Creates new credentials at Meta, and then updates the Secret. Returns the new app and the replaced token."""
    name = f"{number.identity.name}-meta"
    app, token = str(int(APP) + SERIAL), number.token
    number.meta("PUT", "world", {
        "apps": [{"app_id": app, "app_secret": NEW_SECRET, "require_proof": True}],
        "tokens": [{"token": NEW_TOKEN, "app_id": app, "wabas": [number.identity.account]}],
    })  # fmt: skip
    data = {"appId": app, "appSecret": NEW_SECRET, "accessToken": NEW_TOKEN}
    number.apply(secret(number.identity.namespace, name, data | {"previousAppSecret": number.identity.app_secret}))
    return app, token


def _accepts(number: Installed, pod: str) -> bool:
    """Returns whether this webhook pod accepts our delivery.

    The delivery is sent from inside the pod, and has a field that no bot gets.
    """
    change = {"field": "signature_test", "value": {"at": time.time_ns()}}
    body = msgspec.json.encode({
        "object": "whatsapp_business_account", "entry": [{"id": number.identity.account, "changes": [change]}],
    })  # fmt: skip
    path = f"/webhooks/{number.identity.namespace}/{number.identity.name}"
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(number.identity.app_secret, body)}
    program = f"""
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
connection.request("POST", {path!r}, {body!r}, {headers!r})
print(connection.getresponse().status)
"""
    return number.kubectl("exec", "--stdin", pod, "--", "python", "-", stdin=program) == "200"
