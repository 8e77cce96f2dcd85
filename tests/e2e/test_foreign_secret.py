"""A number cannot use a Secret whose owner did not allow it."""

import json
from collections.abc import Callable

import pytest

from .installed import NAMESPACE, RELEASE, CommandFailed, Installed, secret

pytestmark = pytest.mark.timeout(600)

HIDDEN = "canary-of-a-secret-that-is-not-opted-in"
USER = "system:serviceaccount:team-thief:thief"
CRAFTED = ("team-owner/owner-meta", "team-owner.owner-meta", "../team-owner/owner-meta", "owner-meta?x=", "OWNER-META")


@pytest.mark.fault("X6")
def test_a_secret_of_another_namespace_or_without_the_label_is_never_used(installed: Installed) -> None:
    """A user who may write numbers but not read Secrets cannot use a foreign or unlabelled Secret.

    Neither the Secret's real name nor a crafted name in the number gives the user access.
    """
    with installed.team("team-owner"), installed.team("team-thief") as thief:
        owned = {"appId": "200000000000400", "appSecret": HIDDEN, "accessToken": f"{HIDDEN}-token"}
        installed.apply(
            secret("team-owner", "owner-meta", owned),
            secret(thief, "unlabelled", owned, opted_in=False),
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "thief", "namespace": thief}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "thief", "namespace": thief},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": f"{NAMESPACE}:{RELEASE}-edit",
                },
                "subjects": [{"kind": "ServiceAccount", "name": "thief", "namespace": thief}],
            },
        )
        installed.meta("PUT", "world", {
            "apps": [{"app_id": owned["appId"], "app_secret": owned["appSecret"]}],
            "tokens": [{"token": owned["accessToken"], "app_id": owned["appId"]}],
        })  # fmt: skip

        for index, name in enumerate(CRAFTED):
            with pytest.raises(CommandFailed, match="must be a name of small letters"):
                _write(installed, thief, f"crafted-{index}", name)
        _write(installed, thief, "foreign", "owner-meta")
        _write(installed, thief, "unlabelled", "unlabelled")
        _write(installed, thief, "registry", "waypost-registry-number-0")

        expected = {"foreign": "SecretMissing", "unlabelled": "SecretNotOptedIn", "registry": "SecretMissing"}
        for name, reason in expected.items():
            installed.wait(_has_reason(installed, thief, name, reason), what=f"{name} to have the reason {reason}")
            number = installed.another(thief, name, 400)
            assert set(number.published("webhook")) == {None}
        for verb, what in (("get", "secrets"), ("patch", "secrets"), ("get", "pods"), ("create", "pods")):
            with pytest.raises(CommandFailed):
                installed.kubectl("auth", "can-i", verb, what, f"--as={USER}", namespace=thief)
        seen = installed.kubectl("get", "events,whatsapp", "--output=json", namespace=thief)
        assert HIDDEN not in seen
        assert HIDDEN not in installed.kubectl("logs", f"deployment/{RELEASE}-operator", "--tail=-1")


def _write(installed: Installed, namespace: str, name: str, credentials: str) -> None:
    """Creates a number as the user would, by impersonation."""
    number = installed.another(namespace, name, 400).number(credentialsRef={"name": credentials})
    installed.kubectl("create", "--filename", "-", f"--as={USER}", stdin=json.dumps(number), namespace=namespace)


def _has_reason(installed: Installed, namespace: str, name: str, reason: str) -> Callable[[], bool]:
    def holds() -> bool:
        found = installed.conditions(name, namespace=namespace)
        return found.get("CredentialsValid") == ("False", reason) and found.get("Ready", ("",))[0] == "False"

    return holds
