"""Computes `appsecret_proof`, which shows that the caller of a Graph call has the app secret."""

import hashlib
import hmac


def appsecret_proof(token: str, secret: str) -> str:
    """Returns the `appsecret_proof` of a Graph call: hex HMAC-SHA256 of the access token, keyed by the app secret.

    Source: Meta, "Install apps, generate, refresh, revoke tokens". It is mandatory if the app's settings require it.
    """
    return hmac.digest(secret.encode(), token.encode(), hashlib.sha256).hex()
