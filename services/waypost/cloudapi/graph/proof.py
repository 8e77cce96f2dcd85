"""Computes `appsecret_proof`, which shows that the caller of a Graph call has the app secret."""

import hashlib
import hmac


def appsecret_proof(token: str, secret: str) -> str:
    """Returns the `appsecret_proof` of a Graph call.

    The proof is the HMAC-SHA256 of the access token in hex, with the app secret as the key. Meta requires it if
    the app's settings say so. Source: Meta, "Install apps, generate, refresh, revoke tokens".
    """
    return hmac.digest(secret.encode(), token.encode(), hashlib.sha256).hex()
