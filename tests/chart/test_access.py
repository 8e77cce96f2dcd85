"""Each service account has exactly the rights in the cluster that it needs.

The lists in tests/cluster/rbac contain everything that each service account may do.
"""

import pytest

from . import rights
from .rendered import NAMESPACE, Rendered, render


@pytest.mark.fault("X7")
@pytest.mark.parametrize("mode", rights.MODES)
def test_service_accounts_have_exactly_the_recorded_rights(helm: None, mode: str) -> None:
    """Each service account gets exactly the recorded rights from its roles and bindings.

    Every verb is compared, in each kind of namespace.
    """
    rights.compare(mode, rights.from_chart(mode, rights.in_mode(mode)))


@pytest.mark.parametrize(("values", "mode"), [("production", "cluster"), ("namespaced", "namespaced")])
def test_other_values_give_the_same_rights(helm: None, values: str, mode: str) -> None:
    """The rights are the same with other values. For example, two operators need the same rights as one."""
    rights.compare(mode, rights.from_chart(mode, render(values)))


def test_a_wider_role_changes_the_text(helm: None) -> None:
    """If a role gets another verb, the comparison reports the line that differs."""
    chart = rights.in_mode("cluster")
    wider = Rendered(
        tuple({**each, "rules": [*each["rules"], _MORE]} if "rules" in each else each for each in chart.objects)
    )

    with pytest.raises(AssertionError, match=r"\+  pods/exec +create"):
        rights.compare("cluster", rights.from_chart("cluster", wider))


_MORE = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}


def test_an_operator_for_some_namespaces_has_no_cluster_role(helm: None) -> None:
    """An operator that watches only some namespaces needs no cluster role.

    People who may not create cluster roles can still install it.
    """
    chart = render("namespaced")

    assert chart.all("ClusterRole") == chart.all("ClusterRoleBinding") == []
    assert {each["metadata"].get("namespace", NAMESPACE) for each in chart.all("Role")} == {
        "team-a",
        "team-b",
        NAMESPACE,
    }


@pytest.mark.fault("X7")
def test_no_rule_has_a_wildcard(chart: Rendered) -> None:
    """No rule has a wildcard. A wildcard would also grant rights to resources that are added later."""
    for role in [*chart.all("Role"), *chart.all("ClusterRole")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


@pytest.mark.fault("X7")
def test_only_the_operator_is_bound_to_anything(chart: Rendered) -> None:
    """Every binding is for the operator. Webhook, worker, console and schedules have no rights in the cluster."""
    for binding in [*chart.all("RoleBinding"), *chart.all("ClusterRoleBinding")]:
        assert [each["name"] for each in binding["subjects"]] == ["waypost-operator"]
        assert binding["subjects"][0]["namespace"] == NAMESPACE


def test_teams_get_rights_to_the_two_kinds(production: Rendered) -> None:
    """Teams get rights to numbers and schedules.

    The role `edit` allows editing the objects, but not their status. The role `view` allows reading the objects.
    """
    edit = next(each for each in production.all("ClusterRole") if each["metadata"]["name"].endswith("-edit"))
    view = next(each for each in production.all("ClusterRole") if each["metadata"]["name"].endswith("-view"))

    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert rights.rights(edit["rules"])["whatsappnumbers.waypost.dev/status"] == {"get"}
    assert all(verbs == {"get", "list", "watch"} for verbs in rights.rights(view["rules"]).values())
