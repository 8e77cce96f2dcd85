"""The chart against a real API server: it takes every object as it is, and its policies refuse what they should."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from ..chart.rendered import CHART, VALUES, Rendered, helm, render, tool
from .conftest import kubectl, until

TOKEN = "EAAJZCZA1aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"
FOREIGN = ("Gateway", "HTTPRoute", "ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule")
"""Kinds of others, which the API server of a test need not know."""

POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    if tool("helm") is None:
        pytest.skip("no helm")
    if tool("kubectl") is None:
        pytest.skip("no kubectl")


@pytest.mark.parametrize("values", VALUES)
def test_the_api_server_takes_every_object_as_it_is(kubeconfig: Path, chart_namespaces: object, values: str) -> None:
    """Strictly: no unknown field, no field twice, no warning of a pod that is less than restricted."""
    objects = [each for each in render(values).in_namespaces() if each["kind"] not in FOREIGN]

    said = kubectl(
        kubeconfig,
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"),
        stdin=yaml.safe_dump_all(objects),
    )

    assert said.stderr.strip() == ""


def test_the_kinds_outlive_the_release(
    kubeconfig: Path, api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, upgraded and removed by helm itself; nothing controls pods here, so it goes without hooks."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    values = ("--values", str(CHART / "ci" / "trial-values.yaml"))
    custom = client.CustomObjectsApi(api)
    extensions = client.ApiextensionsV1Api(api)
    for crd in ("whatsappnumbers.waypost.dev", "botschedules.waypost.dev"):
        # As an earlier release has left them.
        labels = {"app.kubernetes.io/managed-by": "Helm"}
        owner = {"meta.helm.sh/release-name": "waypost", "meta.helm.sh/release-namespace": namespace}
        extensions.patch_custom_resource_definition(crd, {"metadata": {"labels": labels, "annotations": owner}})

    helm("install", "waypost", str(CHART), "--namespace", namespace, "--no-hooks", *values)
    custom.create_namespaced_custom_object(
        "waypost.dev", "v1alpha1", namespace, "botschedules", _schedule(namespace, {"text": "hello"})
    )
    more = ("--set", "image.tag=next", "--set", "worker.replicas=3")
    helm("upgrade", "waypost", str(CHART), "--namespace", namespace, "--no-hooks", *values, *more)
    upgraded = client.AppsV1Api(api).read_namespaced_deployment("waypost-worker", namespace)
    helm("uninstall", "waypost", "--namespace", namespace, "--no-hooks")

    assert upgraded.spec.replicas == 3
    assert upgraded.spec.template.spec.containers[0].image == "waypost:next"
    assert client.AppsV1Api(api).list_namespaced_deployment(namespace).items == []
    assert custom.get_namespaced_custom_object("waypost.dev", "v1alpha1", namespace, "botschedules", "news")


@pytest.fixture(scope="module")
def number(api: client.ApiClient, chart_namespaces: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where a number is, in the client's terms; afterwards it is there no longer."""
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
def policies(kubeconfig: Path, api: client.ApiClient, number: tuple[str, ...]) -> Iterator[None]:
    """The production chart's policies, in force; and in force no longer for whoever comes next.

    The API server takes them up and forgets them in its own time, one by one. So they are there for all tests together:
    right after a policy was deleted it still refuses, and then no longer, though it is back.
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
    """The API server's words when it does not take the object; it is not kept."""
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
    """With words that say where it is, and without the token."""
    words = _refusal(api, _schedule(namespace, message, **metadata))

    assert words is not None
    assert f"{place} holds what looks like an access token" in words
    assert TOKEN not in words


@pytest.mark.parametrize("message", [{"text": "EAA is a word"}, _components("fine"), _components(3)])
def test_an_ordinary_spec_is_taken(
    api: client.ApiClient, namespace: str, policies: None, message: dict[str, Any]
) -> None:
    """Also one whose template parameters are of a form that nobody expected."""
    assert _refusal(api, _schedule(namespace, message)) is None


def _record(api: client.ApiClient, number: tuple[str, ...], url: str, **how: str) -> str | None:
    """Write a callback into a number's status, as the operator does. The API server's words when it refuses."""
    try:
        client.CustomObjectsApi(api).patch_namespaced_custom_object_status(
            *number, {"status": {"webhook": {"url": url}}}, **how
        )
    except ApiException as error:
        return str(error.body)
    return None


@pytest.mark.usefixtures("policies")
def test_a_callback_that_is_not_https_cannot_be_recorded(api: client.ApiClient, number: tuple[str, ...]) -> None:
    """Whoever writes the status: Meta would deliver texts in the clear."""
    words = _record(api, number, "http://a.example/webhooks/a/b")

    assert words is not None
    assert "a callback must be https" in words


@pytest.mark.usefixtures("policies")
def test_a_callback_by_https_is_recorded(api: client.ApiClient, number: tuple[str, ...]) -> None:
    """As the operator does."""
    words = _record(api, number, "https://a.example/webhooks/a/b")

    found: Any = client.CustomObjectsApi(api).get_namespaced_custom_object(*number)
    assert words is None
    assert found["status"]["webhook"]["url"].startswith("https://")
