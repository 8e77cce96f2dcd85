"""`appsecret_proof`: shows on a Graph call that the caller holds the app secret."""

import hashlib
import hmac


def appsecret_proof(token: str, secret: str) -> str:
    """The `appsecret_proof` parameter of a Graph call: hex HMAC-SHA256 of the access token, keyed by the app secret.

    Source: Meta, "Install apps, generate, refresh, revoke tokens"; mandatory where the app's settings require it.
    """
    return hmac.digest(secret.encode(), token.encode(), hashlib.sha256).hex()
