"""Meta's signature on a delivery."""

import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "sha256="


def sign(secret: str, body: bytes) -> str:
    """The `X-Hub-Signature-256` value of `body`: "sha256=" and the lower-case hex HMAC-SHA256 over the raw bytes.

    Source: Meta, "Create a webhook endpoint".
    """
    return PREFIX + hmac.digest(secret.encode(), body, hashlib.sha256).hex()


def is_valid(header: str | None, body: bytes, secrets: Iterable[str]) -> bool:
    """Whether `header` is the signature of exactly `body` under one of `secrets` (current and previous).

    Takes the same time whichever secret fits, and however much of the header is right. Blank secrets are passed
    over: an HMAC with an empty key is one that anybody can make.
    """
    # compare_digest refuses text beyond ASCII with TypeError, and a header may hold any latin-1 character.
    given = (header or "").encode("utf-8", "surrogatepass")
    valid = False
    for secret in secrets:
        if secret.strip():
            valid |= hmac.compare_digest(sign(secret, body).encode(), given)
    return valid
