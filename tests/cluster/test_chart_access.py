"""The chart grants exactly the rights that are listed in rbac/. They suffice for all of the operator's work."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes import client, config

from waypost.dev import files, manifests, simulated_world

from ..chart import rights
from ..chart.rendered import CHART, NAMESPACE, render, tool
from ..untyped import untyped
from .conftest import kubectl, until

EXAMPLES = CHART.parents[1] / "examples"
ACCESS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
TEAM = "team-a"


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    for name in ("helm", "kubectl"):
        if tool(name) is None:
            pytest.skip(f"no {name}")


@pytest.fixture(params=[(), (TEAM, "team-b")], ids=["in all namespaces", "in two namespaces"])
def namespaces(
    request: pytest.FixtureRequest, kubeconfig: Path, chart_namespaces: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Installs the chart's accounts and roles for an operator that watches some namespaces or all namespaces.

    Yields the namespaces. The tuple is empty for an operator that watches all namespaces.
    """
    sets = tuple(f"operator.namespaces[{n}]={name}" for n, name in enumerate(request.param))
    objects = yaml.safe_dump_all([each for each in render("trial", sets).in_namespaces() if each["kind"] in ACCESS])
    kubectl(kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=objects)
    yield request.param
    kubectl(kubeconfig, "delete", "--ignore-not-found", "-f", "-", stdin=objects)


def _account(kubeconfig: Path, folder: Path, name: str, namespace: str) -> Path:
    """Writes a kubeconfig that authenticates as a service account."""
    token = kubectl(kubeconfig, "create", "token", name, "--namespace", namespace).stdout.strip()
    theirs = yaml.safe_load(kubeconfig.read_text())
    theirs["users"] = [{"name": theirs["users"][0]["name"], "user": {"token": token}}]
    account = folder / f"{name}.kubeconfig"
    account.write_text(json.dumps(theirs))
    return account


@contextlib.contextmanager
def _process(command: str, log: Path, **environment: str) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "waypost.cli", command], env={**os.environ, **environment}, stdout=output
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def operator_log(
    kubeconfig: Path, namespaces: tuple[str, ...], tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Path]:
    """Yields the log of an operator that runs as its service account.

    The operator uses a simulated Meta and a leader election.
    """
    account = _account(kubeconfig, tmp_path, "waypost-operator", NAMESPACE)
    declared = manifests.load(files.yaml_files([EXAMPLES]))
    meta = tmp_path / "world.json"
    meta.write_text(json.dumps(simulated_world.seed(declared.numbers, declared.schedules)))
    simulator, probes, log = free_port(), free_port(), tmp_path / "operator.log"
    url = f"http://127.0.0.1:{simulator}"
    with (
        _process(
            "simulator",
            tmp_path / "simulator.log",
            WAYPOST_HOST="127.0.0.1",
            WAYPOST_SIMULATOR_PORT=str(simulator),
            WAYPOST_PROBE_PORT=str(free_port()),
            WAYPOST_SIMULATOR_WORLD=str(meta),
        ),
        _process(
            "operator",
            log,
            WAYPOST_KUBECONFIG=str(account),
            WAYPOST_HOST="127.0.0.1",
            WAYPOST_PROBE_PORT=str(probes),
            WAYPOST_RELEASE_NAMESPACE=NAMESPACE,
            WAYPOST_NAMESPACES=",".join(namespaces),
            WAYPOST_OPERATOR_REPLICAS="2",
            WAYPOST_PUBLIC_URL="https://127.0.0.1:9",
            WAYPOST_GRAPH_URL=url,
            WAYPOST_JOB_IMAGE="waypost:test",
        ),
    ):
        until(lambda: _is_ready(f"http://127.0.0.1:{probes}/readyz"))
        yield log


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def _refusals(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if "orbidden" in json.dumps(line)]


def test_the_operator_does_all_of_its_work_with_the_chart_s_rights(
    kubeconfig: Path, api: client.ApiClient, operator_log: Path
) -> None:
    """The operator does all of its work with the chart's rights.

    It publishes a number, creates CronJobs, and writes statuses and Events. After a deletion, it removes what it
    created.
    """
    custom, core, batch = client.CustomObjectsApi(api), client.CoreV1Api(api), client.BatchV1Api(api)
    ours = ("waypost.dev", "v1alpha1", TEAM)

    def published() -> bool:
        found = core.list_namespaced_secret(NAMESPACE, label_selector="waypost.dev/registry=number").items
        return any("team-a.support.json" in (each.data or {}) for each in found)

    def cron_jobs() -> list[client.V1CronJob]:
        found: list[client.V1CronJob] = batch.list_namespaced_cron_job(NAMESPACE).items
        return found

    def is_gone(plural: str) -> bool:
        return not untyped(custom.list_namespaced_custom_object(*ours, plural))["items"]

    kubectl(kubeconfig, "apply", "--recursive", "-f", str(EXAMPLES))
    until(published)
    until(lambda: len(cron_jobs()) == 2)
    number: Any = custom.get_namespaced_custom_object(*ours, "whatsappnumbers", "support")
    until(lambda: core.list_namespaced_event(TEAM, field_selector="involvedObject.kind=BotSchedule").items)
    kubectl(kubeconfig, "delete", "--recursive", "--wait=false", "-f", str(EXAMPLES))
    for plural in ("botschedules", "whatsappnumbers"):
        until(partial(is_gone, plural))

    assert number["status"]["conditions"]
    assert not published()
    assert cron_jobs() == []
    assert _refusals(operator_log) == []


def _granted(account: Path, namespace: str) -> rights.Rights:
    """Asks the API server what an account may do in a namespace."""
    with untyped(config).new_client_from_config(str(account)) as made:
        review = client.AuthorizationV1Api(made).create_self_subject_rules_review(
            untyped({"spec": {"namespace": namespace}})
        )
        status = made.sanitize_for_serialization(review.status)
    return rights.rights([*status["resourceRules"], *status["nonResourceRules"]])


@pytest.mark.fault("X7")
def test_the_api_server_grants_the_listed_rights_and_nothing_else(
    kubeconfig: Path, api: client.ApiClient, namespaces: tuple[str, ...], namespace: str, tmp_path: Path
) -> None:
    """The API server grants each account the listed rights and nothing else.

    The test checks the rights in the account's own namespace, in a team's namespace and in an unrelated
    namespace. It ignores rights that every account has.
    """
    mode = next(name for name, given in rights.MODES.items() if given == namespaces)
    kubectl(kubeconfig, "create", "serviceaccount", "unprivileged", "--namespace", namespace)
    common = _granted(_account(kubeconfig, tmp_path, "unprivileged", namespace), namespace)
    found: dict[tuple[str, str], rights.Rights] = {}
    for name in rights.accounts(rights.in_mode(mode)):
        account = _account(kubeconfig, tmp_path, name, NAMESPACE)
        for place, where in rights.PLACES.items():
            granted = _granted(account, where)
            own = {resource: verbs - common.get(resource, set()) for resource, verbs in granted.items()}
            found[name, place] = {resource: verbs for resource, verbs in own.items() if verbs}

    rights.compare(mode, rights.text(mode, found))
