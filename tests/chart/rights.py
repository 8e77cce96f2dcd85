"""Lists what each service account of the chart may do, and in which namespaces.

The lists are recorded in tests/cluster/rbac. `python -m tests.chart.rights` writes these files from the
chart.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from .rendered import CHART, NAMESPACE, Manifest, Rendered, render

Rule = Mapping[str, Any]
Rights = dict[str, set[str]]
"""Verbs by resource, as `kubectl auth can-i --list` names it: `leases.coordination.k8s.io`, `secrets [a-name]`."""

FOLDER = CHART.parents[1] / "tests" / "cluster" / "rbac"
MODES = {"cluster": (), "namespaced": ("team-a", "team-b")}
"""`operator.namespaces` for each of the lists."""

PLACES = {"in its own namespace": NAMESPACE, "in a team's namespace": "team-a", "in any other namespace": "default"}
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def recorded(mode: str) -> str:
    """Returns the recorded list of a mode from the repository."""
    return (FOLDER / f"{mode}.txt").read_text()


def compare(mode: str, found: str) -> None:
    """Compares a list with the recorded list. Raises `AssertionError` with the lines that differ."""
    lines = difflib.unified_diff(
        recorded(mode).splitlines(), found.splitlines(), f"recorded in {mode}.txt", "found", lineterm="", n=30
    )
    differing = "\n".join(lines)
    assert not differing, f"a right has changed:\n{differing}"


def in_mode(mode: str) -> Rendered:
    """Renders the chart with an operator for the namespaces of a mode."""
    return render("trial", tuple(f"operator.namespaces[{n}]={name}" for n, name in enumerate(MODES[mode])))


def accounts(chart: Rendered) -> list[str]:
    """Returns the names of the chart's service accounts."""
    return sorted(each["metadata"]["name"] for each in chart.all("ServiceAccount"))


def granted(chart: Rendered, account: str, namespace: str) -> Rights:
    """Returns what the chart's roles and bindings allow an account in a namespace."""
    roles = {_place(each): each for each in (*chart.all("Role"), *chart.all("ClusterRole"))}
    rules: list[Rule] = []
    for binding in (*chart.all("RoleBinding"), *chart.all("ClusterRoleBinding")):
        where = _place(binding)[1]
        if where not in {"", namespace} or not any(_is(account, each) for each in binding["subjects"]):
            continue
        target = binding["roleRef"]
        scope = where if target["kind"] == "Role" else ""
        rules += roles[target["kind"], scope, target["name"]]["rules"]
    return rights(rules)


def rights(rules: Iterable[Rule]) -> Rights:
    """Returns what several rules allow together."""
    found: Rights = {}
    for rule in rules:
        names = f" [{' '.join(sorted(rule['resourceNames']))}]" if rule.get("resourceNames") else ""
        resources = [
            _qualified(resource, group) + names
            for group in rule.get("apiGroups") or ()
            for resource in rule.get("resources") or ()
        ]
        for resource in (*resources, *(rule.get("nonResourceURLs") or ())):
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def text(mode: str, found: Mapping[tuple[str, str], Rights]) -> str:
    """Returns rights by account and place as a text that people can read and compare."""
    namespaces = f"operator.namespaces is [{', '.join(MODES[mode])}]" if MODES[mode] else "operator.namespaces is empty"
    lines = [
        f"What each service account of the chart may do when {namespaces}, and nothing else.",
        "A change of these rights must change this file too: .venv/bin/python -m tests.chart.rights",
    ]
    for (account, place), allowed in found.items():
        lines += ["", f"{account} {place}"]
        for resource, verbs in sorted(allowed.items()):
            usual = [verb for verb in _VERBS if verb in verbs]
            lines.append(f"  {resource:<36} {' '.join([*usual, *sorted(verbs - set(usual))])}")
        if not allowed:
            lines.append("  nothing")
    return "\n".join(lines) + "\n"


def from_chart(mode: str, chart: Rendered) -> str:
    """Returns the text for the rights in the chart's manifests."""
    return text(
        mode,
        {
            (account, place): granted(chart, account, namespace)
            for account in accounts(chart)
            for place, namespace in PLACES.items()
        },
    )


def _place(manifest: Manifest) -> tuple[str, str, str]:
    kind, metadata = manifest["kind"], manifest["metadata"]
    return kind, "" if kind.startswith("Cluster") else metadata.get("namespace", NAMESPACE), metadata["name"]


def _is(account: str, subject: Mapping[str, str]) -> bool:
    return (subject["kind"], subject.get("namespace"), subject["name"]) == ("ServiceAccount", NAMESPACE, account)


def _qualified(resource: str, group: str) -> str:
    name, slash, part = resource.partition("/")
    return f"{name}.{group}{slash}{part}" if group else resource


if __name__ == "__main__":
    for each in MODES:
        (FOLDER / f"{each}.txt").write_text(from_chart(each, in_mode(each)))
