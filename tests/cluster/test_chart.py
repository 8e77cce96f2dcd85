"""Tests the chart on a real API server.

The server accepts every object of the chart. The chart's policies refuse the objects that they must refuse.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from ..chart.rendered import CHART, VALUES, Rendered, helm, render, tool
from ..untyped import untyped
from .conftest import kubectl, until

TOKEN = "EAAJZCZA1aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"
FOREIGN = ("Gateway", "HTTPRoute", "ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule")
"""Kinds of other projects, which the API server of a test need not know."""

Where = tuple[str, str, str, str, str]
"""Group, version, namespace, plural and name of an object."""

POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    if tool("helm") is None:
        pytest.skip("no helm")
    if tool("kubectl") is None:
        pytest.skip("no kubectl")


@pytest.mark.parametrize("values", VALUES)
def test_the_api_server_accepts_every_object_unchanged(kubeconfig: Path, chart_namespaces: object, values: str) -> None:
    """The API server accepts every object of the chart unchanged.

    Strict validation finds no unknown or duplicate field, and no pod that violates the restricted standard.
    """
    objects = [each for each in render(values).in_namespaces() if each["kind"] not in FOREIGN]

    applied = kubectl(
        kubeconfig,
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"),
        stdin=yaml.safe_dump_all(objects),
    )

    assert applied.stderr.strip() == ""


def test_the_kinds_outlive_the_release(
    kubeconfig: Path, api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our kinds and their objects stay when Helm removes the release.

    In this test, Helm installs, upgrades and removes the release. Helm skips the hooks, because no controller
    here runs their pods.
    """
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    values = ("--values", str(CHART / "ci" / "trial-values.yaml"))
    custom = client.CustomObjectsApi(api)
    extensions = client.ApiextensionsV1Api(api)
    for crd in ("whatsappnumbers.waypost.dev", "botschedules.waypost.dev"):
        # An earlier release leaves the definitions behind with these labels and annotations.
        labels = {"app.kubernetes.io/managed-by": "Helm"}
        owner = {"meta.helm.sh/release-name": "waypost", "meta.helm.sh/release-namespace": namespace}
        extensions.patch_custom_resource_definition(crd, {"metadata": {"labels": labels, "annotations": owner}})

    helm("install", "waypost", str(CHART), "--namespace", namespace, "--no-hooks", *values)
    custom.create_namespaced_custom_object(
        "waypost.dev", "v1alpha1", namespace, "botschedules", _schedule(namespace, {"text": "hello"})
    )
    more = ("--set", "image.tag=next", "--set", "worker.replicas=3")
    helm("upgrade", "waypost", str(CHART), "--namespace", namespace, "--no-hooks", *values, *more)
    upgraded = untyped(client.AppsV1Api(api).read_namespaced_deployment("waypost-worker", namespace))
    helm("uninstall", "waypost", "--namespace", namespace, "--no-hooks")

    assert upgraded.spec.replicas == 3
    assert upgraded.spec.template.spec.containers[0].image == "waypost:next"
    assert client.AppsV1Api(api).list_namespaced_deployment(namespace).items == []
    assert custom.get_namespaced_custom_object("waypost.dev", "v1alpha1", namespace, "botschedules", "news")


@pytest.fixture(scope="module")
def number(api: client.ApiClient, chart_namespaces: tuple[str, ...]) -> Iterator[Where]:
    """Yields a number's group, version, namespace, plural and name. Deletes the number afterwards."""
    _, team, _ = chart_namespaces
    where = ("waypost.dev", "v1alpha1", team, "whatsappnumbers")
    spec = {"phoneNumberId": "106540352242922", "wabaId": "102290129340398", "credentialsRef": {"name": "support-meta"}}
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(
        *where,
        {
            "apiVersion": "waypost.dev/v1alpha1",
            "kind": "WhatsAppNumber",
            "metadata": {"name": "support"},
            "spec": spec,
        },
    )
    yield (*where, "support")
    custom.delete_namespaced_custom_object(*where, "support")


@pytest.fixture(scope="module")
def policies(kubeconfig: Path, api: client.ApiClient, number: Where) -> Iterator[None]:
    """Installs the policies of the production chart and waits until they are in force.

    At the end, the fixture deletes the policies and waits until they are no longer in force. The API server
    applies a new policy only after a delay, and a deleted policy is still applied for a while. If a policy is
    deleted and created again, it may first still refuse objects, and then refuse nothing for a while. All tests
    therefore share one installation.
    """
    chart: Rendered = render("production")
    manifests = yaml.safe_dump_all([each for each in chart.objects if each["kind"] in POLICIES])
    _, _, team, _, _ = number

    def refuse() -> list[bool]:
        return [
            _refusal(api, _schedule(team, {"text": TOKEN})) is not None,
            _record(api, number, "http://a.example/webhooks/a/b", dry_run="All") is not None,
        ]

    kubectl(kubeconfig, "apply", "--server-side", "-f", "-", stdin=manifests)
    until(lambda: all(refuse()))
    yield
    kubectl(kubeconfig, "delete", "-f", "-", stdin=manifests)
    until(lambda: not any(refuse()))


def _schedule(namespace: str, message: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "waypost.dev/v1alpha1",
        "kind": "BotSchedule",
        "metadata": {"name": "news", "namespace": namespace, **metadata},
        "spec": {
            "numberRef": {"name": "support"},
            "schedule": "0 9 * * 1",
            "timeZone": "Europe/Rome",
            "action": {"message": {"audience": {"contacts": ["+393331234567"]}, **message}},
        },
    }


def _refusal(api: client.ApiClient, manifest: dict[str, Any]) -> str | None:
    """Tries to create an object with a dry run, so that the object is not stored.

    Returns the API server's message if the server refuses the object.
    """
    custom = client.CustomObjectsApi(api)
    plural = {"BotSchedule": "botschedules", "WhatsAppNumber": "whatsappnumbers"}[manifest["kind"]]
    try:
        custom.create_namespaced_custom_object(
            "waypost.dev", "v1alpha1", manifest["metadata"]["namespace"], plural, manifest, dry_run="All"
        )
    except ApiException as error:
        return str(error.body)
    return None


def _components(text: object) -> dict[str, Any]:
    parameters = [{"type": "body", "parameters": [{"type": "text", "text": text}]}, {"type": "header"}]
    return {"template": {"name": "news", "language": "en", "components": parameters}}


@pytest.mark.parametrize(
    ("place", "message", "metadata"),
    [
        ("spec.action.message.text", {"text": f"the token is {TOKEN}"}, {}),
        ("spec.action.message.template.components", _components(TOKEN), {}),
        ("an annotation", {"text": "hello"}, {"annotations": {"note": TOKEN}}),
        ("a label", {"text": "hello"}, {"labels": {"note": TOKEN}}),
    ],
)
@pytest.mark.usefixtures("policies")
def test_a_spec_with_an_access_token_is_refused(
    api: client.ApiClient, namespace: str, place: str, message: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """A spec with an access token is refused. The message says where the token is, and does not quote it."""
    refusal = _refusal(api, _schedule(namespace, message, **metadata))

    assert refusal is not None
    assert f"{place} holds what looks like an access token" in refusal
    assert TOKEN not in refusal


@pytest.mark.parametrize("message", [{"text": "EAA is a word"}, _components("fine"), _components(3)])
def test_an_ordinary_spec_is_accepted(
    api: client.ApiClient, namespace: str, policies: None, message: dict[str, Any]
) -> None:
    """An ordinary spec is accepted. Template parameters of an unexpected form are accepted too."""
    assert _refusal(api, _schedule(namespace, message)) is None


def _record(api: client.ApiClient, number: Where, url: str, dry_run: str | None = None) -> str | None:
    """Writes a callback into a number's status, as the operator does.

    Returns the API server's message if it refuses the change.
    """
    try:
        client.CustomObjectsApi(api).patch_namespaced_custom_object_status(
            *number, {"status": {"webhook": {"url": url}}}, dry_run=dry_run
        )
    except ApiException as error:
        return str(error.body)
    return None


@pytest.mark.usefixtures("policies")
def test_a_callback_that_is_not_https_cannot_be_recorded(api: client.ApiClient, number: Where) -> None:
    """A callback that is not https cannot be recorded by any writer of the status.

    With such a callback, Meta would deliver message texts without encryption.
    """
    refusal = _record(api, number, "http://a.example/webhooks/a/b")

    assert refusal is not None
    assert "a callback must be https" in refusal


@pytest.mark.usefixtures("policies")
def test_a_callback_by_https_is_recorded(api: client.ApiClient, number: Where) -> None:
    """A callback that is https is recorded in the status. The test writes the callback as the operator does."""
    refusal = _record(api, number, "https://a.example/webhooks/a/b")

    found: Any = client.CustomObjectsApi(api).get_namespaced_custom_object(*number)
    assert refusal is None
    assert found["status"]["webhook"]["url"].startswith("https://")
