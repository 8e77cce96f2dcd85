"""Wrong values are refused with a message that names them."""

import json

import pytest
import yaml

from .rendered import CHART, Refused, render


@pytest.mark.parametrize(
    ("values", "sets", "message"),
    [
        ("trial", ("webhook.replcias=3",), "additional properties 'replcias' not allowed"),
        ("trial", ("nonsense=1",), "additional properties 'nonsense' not allowed"),
        ("trial", ("worker.resources.limitz.cpu=1",), "additional properties 'limitz' not allowed"),
        ("trial", ("webhook.replicas=two",), "at '/webhook/replicas': got string, want integer"),
        ("trial", ("logLevel=LOUD",), "at '/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ("trial", ("worker.autoscaling.kind=magic",), "at '/worker/autoscaling/kind'"),
        ("trial", ("database.embedded.password=short",), "at '/database/embedded/password'"),
        ("trial", ("worker.eventRetentionDays=7",), "at '/worker/eventRetentionDays': minimum: got 7, want 8"),
        ("trial", ("telemetry.samplerArgument=often",), "at '/telemetry/samplerArgument'"),
        ("trial", ("ingress.enabled=true",), "at '/publicUrl': '' does not match pattern '^https://"),
        (
            "trial",
            ("console.enabled=false", "worker.autoscaling.kind=keda"),
            "at '/console/enabled': value must be true",
        ),
        ("production", ("publicUrl=http://whatsapp.example.com",), "at '/publicUrl'"),
        ("production", ("publicUrl=https://whatsapp.example.com/hooks",), "at '/publicUrl'"),
        ("production", ("graph.url=http://graph.facebook.com",), "at '/graph/url'"),
        ("production", ("database.url=postgresql://a/b",), "at '/database': 'oneOf' failed, subschemas 0, 1 matched"),
        ("production", ("redis.existingSecret.name=",), "at '/redis': 'oneOf' failed, none matched"),
        ("production", ("image.digest=latest",), "at '/image/digest'"),
        ("production", ("gateway.className=",), "at '/gateway/className'"),
        ("production", ("bot.plugins[0]=*",), "at '/bot/plugins/0'"),
        ("production", ("bot.plugins[0]=os",), "at '/bot/plugins/0'"),
        ("production", ("bot.plugins[0]=acme_bots.*:*",), "at '/bot/plugins/0'"),
        ("production", ("bot.plugins=acme_bots.*",), "at '/bot/plugins': got string, want array"),
        ("namespaced", ("operator.namespaces[0]=Team_A",), "at '/operator/namespaces/0'"),
        ("namespaced", ("redis.url=http://redis",), "at '/redis/url'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: None, values: str, sets: tuple[str, ...], message: str) -> None:
    """`helm install` refuses a wrong value before anything is created, and names the value."""
    with pytest.raises(Refused) as refused:
        render(values, sets)

    assert message in str(refused.value)


def test_an_install_without_values_says_what_is_missing(helm: None) -> None:
    """An install without values is refused.

    The message names the three values without a default: the public address, the database and Redis.
    """
    with pytest.raises(Refused) as refused:
        render()

    for place in ("'/publicUrl'", "'/database'", "'/redis'"):
        assert f"at {place}" in str(refused.value)


def test_values_and_schema_have_the_same_keys() -> None:
    """The values and the schema have the same keys.

    Users could not set a key that is only in the values. They could not find a key that is only in the schema.
    """
    schema = json.loads((CHART / "values.schema.json").read_text())

    def listed(node: dict[str, object]) -> dict[str, dict[str, object]]:
        if "$ref" in node:
            node = schema["$defs"][str(node["$ref"]).rpartition("/")[2]]
        found = node.get("properties", {}) if node.get("additionalProperties") is False else {}
        return {str(name): each for name, each in found.items()} if isinstance(found, dict) else {}

    def compare(values: object, node: dict[str, object], place: str) -> None:
        properties = listed(node)
        if not properties or not isinstance(values, dict):
            return
        optional = {"global"} if not place else {"requests", "limits"}
        assert set(values) - set(properties) == set(), place
        assert set(properties) - set(values) - optional == set(), place
        for name, value in values.items():
            compare(value, properties[name], f"{place}/{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    """An object of the schema with listed properties allows no other properties."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def closed(node: object, place: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert node.get("additionalProperties") is False or place.startswith("/$defs/environment"), place
            for name, each in node.items():
                closed(each, f"{place}/{name}")
        elif isinstance(node, list):
            for each in node:
                closed(each, place)

    closed(schema, "")
