"""What the operator may do, verb by verb: whoever widens it must change this file too."""

from .rendered import NAMESPACE, Manifest, Rendered, render

TENANTS = {
    ("waypost.dev", "whatsappnumbers"): {"get", "list", "watch", "patch"},
    ("waypost.dev", "botschedules"): {"get", "list", "watch", "patch"},
    ("waypost.dev", "whatsappnumbers/status"): {"update"},
    ("waypost.dev", "botschedules/status"): {"update"},
    ("", "secrets"): {"get", "list", "watch"},
    ("", "configmaps"): {"get", "list", "watch"},
    ("", "events"): {"create"},
    ("batch", "cronjobs"): {"list", "watch"},
}
RELEASE = {
    ("", "secrets"): {"get", "list", "create", "patch", "delete"},
    ("", "configmaps"): {"get", "list", "watch", "create", "patch"},
    ("batch", "cronjobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "pods"): {"list", "patch"},
    ("coordination.k8s.io", "leases"): {"get", "create", "update"},
}
WATCHED_RELEASE = {
    ("waypost.dev", "whatsappnumbers"): {"list", "watch"},
    ("waypost.dev", "botschedules"): {"list", "watch"},
    ("", "secrets"): {"list", "watch"},
}


def _table(role: Manifest) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert (group, resource) not in found, "one line each, or nobody sees the sum"
                found[group, resource] = set(rule["verbs"])
    return found


def test_in_all_namespaces_the_operator_has_exactly_these_rights(production: Rendered) -> None:
    """It reads, and writes nothing but status and metadata of its own kinds."""
    (role,) = [each for each in production.all("ClusterRole") if each["metadata"]["name"].endswith("-operator")]

    assert _table(role) == TENANTS


def test_in_its_own_namespace_the_operator_has_exactly_these_rights(production: Rendered) -> None:
    """There it keeps Secrets and CronJobs."""
    assert _table(production.one("Role", "operator")) == RELEASE


def test_an_operator_for_some_namespaces_has_no_right_in_others(helm: None) -> None:
    """No ClusterRole at all; in each of the namespaces the same rights as else in all."""
    chart = render("namespaced")
    roles = {
        (each["metadata"].get("namespace", NAMESPACE), each["metadata"]["name"]): each for each in chart.all("Role")
    }

    assert chart.all("ClusterRole") == chart.all("ClusterRoleBinding") == []
    assert {namespace for namespace, _ in roles} == {"team-a", "team-b", NAMESPACE}
    for namespace in ("team-a", "team-b"):
        assert _table(roles[namespace, "waypost-operator-numbers"]) == TENANTS
    assert _table(roles[NAMESPACE, "waypost-operator-watch"]) == WATCHED_RELEASE


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
    assert _table(edit)["waypost.dev", "whatsappnumbers/status"] == {"get"}
    assert all(verbs == {"get", "list", "watch"} for verbs in _table(view).values())
