"""Who may do what in the cluster. What each service account may do, all of it, is in tests/cluster/rbac."""

import pytest

from . import rights
from .rendered import NAMESPACE, Rendered, render


@pytest.mark.parametrize("mode", rights.MODES)
def test_no_service_account_has_another_right_than_those_that_are_kept(helm: None, mode: str) -> None:
    """Roles and bindings together, verb by verb, in each kind of namespace."""
    rights.compare(mode, rights.from_chart(mode, rights.in_mode(mode)))


@pytest.mark.parametrize(("values", "mode"), [("production", "cluster"), ("namespaced", "namespaced")])
def test_other_values_give_the_same_rights(helm: None, values: str, mode: str) -> None:
    """Two operators need no more than one, and no option brings a right along."""
    rights.compare(mode, rights.from_chart(mode, render(values)))


def test_a_wider_role_is_seen_in_the_text(helm: None) -> None:
    """A verb more in a role is a line that differs."""
    chart = rights.in_mode("cluster")
    wider = Rendered(
        tuple({**each, "rules": [*each["rules"], _MORE]} if "rules" in each else each for each in chart.objects)
    )

    with pytest.raises(AssertionError, match=r"\+  pods/exec +create"):
        rights.compare("cluster", rights.from_chart("cluster", wider))


_MORE = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}


def test_an_operator_for_some_namespaces_has_no_cluster_role(helm: None) -> None:
    """Whoever may not make one can install it."""
    chart = render("namespaced")

    assert chart.all("ClusterRole") == chart.all("ClusterRoleBinding") == []
    assert {each["metadata"].get("namespace", NAMESPACE) for each in chart.all("Role")} == {
        "team-a",
        "team-b",
        NAMESPACE,
    }


def test_no_rule_has_a_wildcard(chart: Rendered) -> None:
    """A wildcard grants what nobody thought of yet."""
    for role in [*chart.all("Role"), *chart.all("ClusterRole")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_only_the_operator_is_bound_to_anything(chart: Rendered) -> None:
    """Webhook, worker, console and schedules need no right in the cluster."""
    for binding in [*chart.all("RoleBinding"), *chart.all("ClusterRoleBinding")]:
        assert [each["name"] for each in binding["subjects"]] == ["waypost-operator"]
        assert binding["subjects"][0]["namespace"] == NAMESPACE


def test_teams_get_the_two_kinds_with_the_rights_they_have(production: Rendered) -> None:
    """Who may edit in a namespace may edit numbers there; nobody may write a status."""
    edit = next(each for each in production.all("ClusterRole") if each["metadata"]["name"].endswith("-edit"))
    view = next(each for each in production.all("ClusterRole") if each["metadata"]["name"].endswith("-view"))

    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert rights.rights(edit["rules"])["whatsappnumbers.waypost.dev/status"] == {"get"}
    assert all(verbs == {"get", "list", "watch"} for verbs in rights.rights(view["rules"]).values())
