"""Finds the address and the credentials of the API server, and bounds the waits for its answers.

They are used for the operator's own calls and for kopf's watches. They come from a service account or from a
kubeconfig.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from waypost.settings import SettingsError

_CONNECTIONS = 24
"""Most connections to the API server. More would not help: requests would wait in the API server, which serves each
client a fair share."""


@dataclass(frozen=True)
class Timeouts:
    """Longest waits for the API server, in seconds. A connection may go silent without being closed.

    For example, a firewall forgets it. Nothing but a deadline reveals this.
    """

    connect_s: float = 5.0
    request_s: float = 20.0
    """Longest time of one request. A reconcile makes several requests, and one that hangs must not block the object for
    minutes."""
    silence_s: float = 70.0
    """Longest time without an event on a watch stream, which is then opened again. The API server sends a bookmark each
    minute, and keeps events for 75 seconds."""


TIMEOUTS = Timeouts()


class NoConnection(SettingsError):
    """Neither a service account nor a kubeconfig can be used. A retry makes no difference."""


async def configuration(kubeconfig: Path | None = None) -> Configuration:
    """Reads the address and the credentials of the API server. Each call reads them again.

    If `kubeconfig` is None, they come from the pod's service account. Outside of a pod they come from the file
    that `$KUBECONFIG` names. Raises `NoConnection`.
    """
    found = Configuration()
    found.connection_pool_maxsize = _CONNECTIONS
    # A session takes a proxy from the environment by default; the API server of one's own cluster is not behind it.
    found.client_session_kwargs = {"trust_env": False}
    found.retries = None  # a reconcile that failed is retried with a back-off of its own
    try:
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else None, client_configuration=found, persist_config=False
            )
    except (config.ConfigException, OSError) as error:
        raise NoConnection(f"WAYPOST_KUBECONFIG: no way to the Kubernetes API: {error}") from None
    return found


async def client(kubeconfig: Path | None = None) -> ApiClient:
    """Returns a client for the operator's own calls. Raises `NoConnection`.

    Close the client with `await client.close()`.
    """
    made = ApiClient(await configuration(kubeconfig))
    made.user_agent = "waypost-operator"
    return made


async def for_kopf(kubeconfig: Path | None = None) -> kopf.ConnectionInfo:
    """Returns the connection for kopf. Raises `kopf.LoginError`.

    If the API server refuses the token, kopf calls this function again.
    """
    try:
        found = await configuration(kubeconfig)
    except NoConnection as error:
        raise kopf.LoginError(str(error)) from None
    header: Any = await found.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert or None,
        insecure=not found.verify_ssl,
        username=found.username or None,
        password=found.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=found.cert_file or None,
        private_key_path=found.key_file or None,
        proxy_url=found.proxy or None,
    )
