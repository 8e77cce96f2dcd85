"""Generates charts/waypost/README.md: a table of the chart's values, from values.yaml and the comments in it.

A key is explained by the comment lines directly above it that have the same indentation.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.machine import REPOSITORY

CHART = Path("charts/waypost")

_INTRODUCTION = """\
<!-- Generated from values.yaml by `make generate`. Do not edit. -->
# The chart waypost

One release of this chart installs Waypost into a namespace: webhook, workers, operator, status page, the migration of
the database, and the kinds `WhatsAppNumber` and `BotSchedule`. It needs Kubernetes 1.30 or newer, a PostgreSQL and a
Redis or Valkey. [docs/install.md](../../docs/install.md) leads through an installation and gives the reasons behind the
more important values; [ci/production-values.yaml](ci/production-values.yaml) is an example for production, and
[ci/trial-values.yaml](ci/trial-values.yaml) one for a trial without Meta.

`publicUrl`, `database` and `redis` have no usable defaults: without them the installation is refused. A key that is not
in these tables is refused as well.
"""


@dataclass(frozen=True)
class Key:
    """One key of values.yaml."""

    path: tuple[str, ...]
    default: object
    meaning: str
    """The comment above the key; empty if there is none."""

    @property
    def name(self) -> str:
        """Returns the key in the form that `helm --set` takes."""
        return ".".join(self.path)

    @property
    def is_group(self) -> bool:
        """Returns whether this key has keys below it."""
        return isinstance(self.default, dict) and bool(self.default)


def files() -> dict[Path, str]:
    """Returns a dict with one entry: the README's path in the repository, and its content."""
    return {CHART / "README.md": page((REPOSITORY / CHART / "values.yaml").read_text(encoding="utf-8"))}


def keys(text: str) -> Iterator[Key]:
    """Yields every key of a values file at any depth. A group comes before the keys in it."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _keys(root, yaml.safe_load(text), text.splitlines(), ())


def _keys(
    node: yaml.MappingNode, values: dict[str, object], lines: Sequence[str], above: tuple[str, ...]
) -> Iterator[Key]:
    for key, child in node.value:
        path = (*above, str(key.value))
        default = values[key.value]
        yield Key(path, default, _comment(lines, key.start_mark.line, key.start_mark.column))
        if isinstance(child, yaml.MappingNode) and isinstance(default, dict):
            yield from _keys(child, default, lines, path)


def _comment(lines: Sequence[str], line: int, column: int) -> str:
    """Returns as one line the comment that ends directly above a key."""
    prefix = " " * column + "#"
    if lines[line][:column].strip():
        return ""  # inside {…}: the comment above belongs to the key that the line begins with
    first = line
    while first and lines[first - 1].startswith(prefix):
        first -= 1
    return " ".join(each.removeprefix(prefix).strip() for each in lines[first:line])


def page(text: str) -> str:
    """Returns the README for a values file: one section per group at the top level, and one for all other keys."""
    sections: dict[str, list[Key]] = {"General": []}
    for key in keys(text):
        is_alone = len(key.path) == 1 and not key.is_group
        sections.setdefault("General" if is_alone else key.path[0], []).append(key)
    return "\n".join([_INTRODUCTION, *(_section(name, found) for name, found in sections.items())])


def _section(name: str, found: Sequence[Key]) -> str:
    lines = [f"## {name}", ""]
    if found[0].name == name:
        lines += [found[0].meaning, ""]
        found = found[1:]
    lines += ["| key | default | meaning |", "|---|---|---|"]
    for key in found:
        default = "" if key.is_group else f"`{json.dumps(key.default, ensure_ascii=False)}`"
        cells = (f"`{key.name}`", default, key.meaning)
        lines.append("| " + " | ".join(each.replace("|", r"\|") for each in cells) + " |")
    return "\n".join([*lines, ""])
