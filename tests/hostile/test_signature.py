"""Tests of a client that guesses signatures: neither the answer nor its time says how much of a guess is right.

The tests of the accepted and refused forms are in tests/cloudapi/inbound/test_signature.py, and those of the answers
in tests/webhook/test_deliveries.py and tests/webhook/test_apps.py.
"""

import gc
import hashlib
import hmac
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from waypost.cloudapi.inbound import signature

from ..webhook import posts
from ..webhook.service import publish_number, serving

pytestmark = pytest.mark.fault("X1")

CURRENT, PREVIOUS = "app-secret-current", "app-secret-previous"
BODY = b'{"object":"whatsapp_business_account","entry":[]}'
GOOD = signature.sign(CURRENT, BODY)

TRIES = 100_000
ROUNDS = 4
KEPT = 0.9
"""Fraction of the measurements that is compared. The slowest ones are those that something else interrupted."""
LEAK = 4.5
"""Bound of Welch's t, as dudect has it. Source: Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?"."""

Check = Callable[[str, bytes, Sequence[str]], bool]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Returns a list to which each comparison in constant time is added, with both of its arguments."""
    seen = []
    compare = hmac.compare_digest

    def compare_digest(a: Any, b: Any) -> bool:
        seen.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    return seen


@pytest.mark.parametrize(
    "header", [GOOD, signature.sign(PREVIOUS, BODY), "sha256=" + "0" * 64, GOOD[:-1], "sha256=", None, "é"]
)
def test_each_secret_is_compared_with_the_whole_header_whatever_the_header_is(
    compared: list[tuple[Any, Any]], header: str | None
) -> None:
    """Each secret costs one comparison of bytes in constant time, even if an earlier secret fits."""
    signature.is_valid(header, BODY, [CURRENT, PREVIOUS])
    given = (header or "").encode()
    assert compared == [(signature.sign(secret, BODY).encode(), given) for secret in (CURRENT, PREVIOUS)]


@pytest.mark.anyio
async def test_an_unknown_route_is_answered_before_any_secret_is_used(
    database: Engine, tmp_path: Path, compared: list[tuple[Any, Any]]
) -> None:
    """An unknown route gets the same 404 with any signature, without a comparison and before the body is read.

    The early answer says only what the status says: no number has this route. Routes are no secret, because Meta's
    settings show them. On a known route, a right and a wrong signature cost the same number of comparisons.
    """
    publish_number(tmp_path, secrets=(CURRENT, PREVIOUS))
    async with serving(database, tmp_path) as webhook:
        body = posts.delivery(posts.item(posts.wamid()))
        unknown = [await webhook.post(body, path="/webhooks/team-a/other", secret=each) for each in (CURRENT, "guess")]
        assert compared == []
        assert {(each.status_code, each.content, str(sorted(each.headers.items()))) for each in unknown} == {
            (404, b"not found\n", str(sorted(unknown[0].headers.items())))
        }
        comparisons = []
        for secret in (CURRENT, PREVIOUS, "guess"):
            await webhook.post(body, secret=secret)
            comparisons.append(len(compared))
    assert comparisons == [2, 4, 6]


@pytest.mark.anyio
async def test_a_missing_and_a_wrong_signature_and_another_tenants_secret_get_the_same_answer(
    database: Engine, tmp_path: Path
) -> None:
    """All of them get the same status, body and headers, although the other secret is right for its own route."""
    publish_number(tmp_path)
    publish_number(tmp_path, namespace="team-b", name="other", number="2", waba="3", app_id="4", secrets=("secret-b",))
    async with serving(database, tmp_path) as webhook:
        body = posts.delivery(posts.item(posts.wamid()))
        right = posts.signed(body)["x-hub-signature-256"]
        sha1 = "sha1=" + hmac.new(posts.SECRET.encode(), body, hashlib.sha1).hexdigest()
        guesses: list[list[tuple[str, str]]] = [
            [],
            *([("x-hub-signature-256", each)] for each in ("", "sha256=" + "0" * 64, right.upper(), sha1)),
            [("x-hub-signature", right)],
            [("x-hub-signature-256", right), ("x-hub-signature-256", right)],
            list(posts.signed(body, "secret-b").items()),
        ]
        answers = [await webhook.client.post(posts.PATH, content=body, headers=headers) for headers in guesses]
        assert (await webhook.post(body, path="/webhooks/team-b/other", secret="secret-b")).status_code == 200
    assert {(each.status_code, each.content, str(sorted(each.headers.items()))) for each in answers} == {
        (400, b"signature missing or wrong\n", str(sorted(answers[0].headers.items())))
    }
    assert posts.stored(database) == {}


def _early_exit(header: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Compares digit by digit and stops at the first difference, as no program should."""
    right = signature.sign(secrets[0], body)
    return len(header) == len(right) and all(map(str.__eq__, right, header))


def _guess(*, right_digits: int) -> str:
    """Returns a header with this many right digits; the next one is wrong, and the rest is random."""
    at = len(signature.PREFIX) + right_digits
    wrong = random.choice([each for each in "0123456789abcdef" if each != GOOD[at]])
    return GOOD[:at] + wrong + "".join(random.choices("0123456789abcdef", k=len(GOOD) - at - 1))


def _signed_by(secret: str) -> str:
    return "".join(signature.sign(secret, BODY))


def _leak(check: Check, make: tuple[Callable[[], str], Callable[[], str]]) -> float:
    """Returns Welch's t of the times of two classes of headers. The classes alternate at random."""
    order = [random.getrandbits(1) for _ in range(TRIES)]
    headers = [make[each]() for each in order]
    times = [0] * TRIES
    secrets = [CURRENT, PREVIOUS]
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        for at, header in enumerate(headers):
            began = clock()
            check(header, BODY, secrets)
            times[at] = clock() - began
    finally:
        gc.enable()
    longest = sorted(times)[int(KEPT * TRIES)]
    kept = [
        [each for each, of in zip(times, order, strict=True) if of == wanted and each < longest] for wanted in (0, 1)
    ]
    means = [statistics.fmean(each) for each in kept]
    errors = [statistics.pvariance(each) / len(each) for each in kept]
    return (means[0] - means[1]) / math.sqrt(sum(errors) or 1.0)


def _least_leak(check: Check, make: tuple[Callable[[], str], Callable[[], str]]) -> float:
    """Returns the smallest amount of t over some rounds. A leak is in every round; a disturbance is not."""
    return min(abs(_leak(check, make)) for _ in range(ROUNDS))


CLASSES = {
    "no digit right, 63 right": (lambda: _guess(right_digits=0), lambda: _guess(right_digits=63)),
    "current secret, previous secret": (lambda: _signed_by(CURRENT), lambda: _signed_by(PREVIOUS)),
    "wrong, right": (lambda: _guess(right_digits=0), lambda: _signed_by(CURRENT)),
}


@pytest.mark.slow
@pytest.mark.parametrize("classes", CLASSES)
def test_the_time_of_the_check_does_not_depend_on_the_signature(classes: str, figure: Callable[..., None]) -> None:
    """Welch's t between the times of two classes of signatures stays below 4.5 in 100,000 tries."""
    found = _least_leak(signature.is_valid, CLASSES[classes])
    figure(f"t, {classes}", round(found, 2), aim=f"below {LEAK}")
    assert found < LEAK


@pytest.mark.slow
def test_a_comparison_that_stops_early_is_detected(figure: Callable[..., None]) -> None:
    """The measurement can fail: it detects a comparison that stops at the first difference."""
    found = _least_leak(_early_exit, CLASSES["no digit right, 63 right"])
    figure("t, a comparison that stops early", round(found, 1), aim=f"above {LEAK}")
    assert found > LEAK
