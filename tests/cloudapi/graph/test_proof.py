"""`appsecret_proof` is Meta's HMAC of the access token."""

import hashlib
import hmac

from waypost.cloudapi.graph.proof import appsecret_proof


def test_proof_of_the_app_secret_is_keyed_by_the_secret() -> None:
    """The proof is HMAC-SHA256 with the app secret as key and the token as message, in hex."""
    expected = hmac.new(b"app-secret", b"token", hashlib.sha256).hexdigest()
    assert appsecret_proof("token", "app-secret") == expected
