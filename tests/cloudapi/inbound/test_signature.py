"""The signature of a delivery is accepted only in its exact form. Any other form is refused."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.inbound import signature

BODY = b'{"object":"whatsapp_business_account","entry":[]}'


def test_signature_is_metas_hmac_over_the_raw_bytes() -> None:
    """The header value is "sha256=" plus the hex HMAC-SHA256 keyed by the app secret."""
    assert signature.sign("s3cret", BODY) == "sha256=" + hmac.new(b"s3cret", BODY, hashlib.sha256).hexdigest()


def test_known_vector_is_reproduced() -> None:
    """The signature of a known example is right. The test would fail if the key and the message were swapped.

    The example is the second test case of RFC 4231.
    """
    assert (
        signature.sign("Jefe", b"what do ya want for nothing?")
        == "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize("secret", ["current", "previous"])
def test_current_and_previous_secret_are_both_accepted(secret: str) -> None:
    """During a rotation, a delivery that is signed with either secret is accepted."""
    assert signature.is_valid(signature.sign(secret, BODY), BODY, ["current", "previous"])


GOOD = signature.sign("current", BODY)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("sha256=", id="prefix only"),
        pytest.param(GOOD.removeprefix("sha256="), id="no prefix"),
        pytest.param("sha1=" + hmac.new(b"current", BODY, hashlib.sha1).hexdigest(), id="sha1"),
        pytest.param("SHA256=" + GOOD.removeprefix("sha256="), id="upper-case prefix"),
        pytest.param("sha256=" + GOOD.removeprefix("sha256=").upper(), id="upper-case digits"),
        pytest.param(f"{GOOD}, {GOOD}", id="two values"),
        pytest.param(f"{GOOD},{signature.sign('other', BODY)}", id="a good and a bad value"),
        pytest.param(f" {GOOD}", id="leading blank"),
        pytest.param(f"{GOOD}\n", id="trailing newline"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param(GOOD[:-1] + "é", id="beyond ASCII"),
        pytest.param("\ud800", id="lone surrogate"),
        pytest.param(signature.sign("other", BODY), id="another secret"),
        pytest.param(signature.sign("current", BODY + b" "), id="another body"),
    ],
)
def test_anything_but_the_exact_signature_is_refused(header: str | None) -> None:
    """Only the exact signature is accepted. Any other value of the header is refused."""
    assert not signature.is_valid(header, BODY, ["current", "previous"])


@pytest.mark.parametrize("secrets", [[], [""], ["  "]])
def test_without_a_secret_nothing_is_valid(secrets: list[str]) -> None:
    """Without a secret, no delivery is valid.

    If a secret in the registry is blank, a delivery that is signed with a blank key must be refused.
    """
    assert not signature.is_valid(signature.sign("".join(secrets), BODY), BODY, secrets)


@given(body=st.binary(), other=st.binary(), secret=st.text(min_size=1).filter(str.strip), rest=st.lists(st.text()))
def test_signature_fits_its_own_body_only(body: bytes, other: bytes, secret: str, rest: list[str]) -> None:
    """For any body and secret, the signature fits this body and no other."""
    header = signature.sign(secret, body)
    assert signature.is_valid(header, body, [*rest, secret])
    assert signature.is_valid(header, other, [secret]) == (other == body)
