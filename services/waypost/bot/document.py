"""Reads YAML into nodes that know their line number, so that each error names a place and a remedy.

Scalars are read as they are written. `yes`, `1.10` and `12:30` are text where text is expected, never a
boolean or a number of minutes. Aliases are refused because a short text could expand to a huge one. Duplicate
keys are refused too.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NoReturn

import yaml

LONGEST_SCRIPT = 256 * 1024
"""The longest script, in bytes of UTF-8. A ConfigMap can hold 1 MiB in total."""

MOST_NODES = 15_000
"""The most keys, texts, lists and mappings of a script. They determine the time and memory that loading it takes."""

_DEEPEST = 16
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ScriptError(Exception):
    """The script cannot be used. The error message names the line and key, the mistake and the remedy.

    A retry does not help.
    """


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the script. It is a text, a list or a mapping, and `path` says where it was found."""

    yaml_node: yaml.Node
    path: str

    def fail(self, problem: str) -> NoReturn:
        """Raises `ScriptError` with `problem` and the place of this node in the script."""
        raise ScriptError(f"{self.place}: {problem}")

    @property
    def place(self) -> str:
        """The line and the path of this node."""
        return f"line {self.yaml_node.start_mark.line + 1}, {self.path or 'the script'}"

    @property
    def is_text(self) -> bool:
        """Returns whether the node is a scalar, which is read as text."""
        return isinstance(self.yaml_node, yaml.ScalarNode)

    @property
    def is_mapping(self) -> bool:
        """Returns whether the node is a mapping."""
        return isinstance(self.yaml_node, yaml.MappingNode)

    def fields(self, allowed: Collection[str], *, required: Collection[str] = ()) -> dict[str, "Node"]:
        """Returns the node's mapping. Refuses keys that are not `allowed`, and mappings that lack a `required` key."""
        found: dict[str, Node] = {}
        for key, node in self._pairs():
            if key not in allowed:
                close = difflib.get_close_matches(key, allowed, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(allowed))}"
                node.fail(f"unknown key; {hint}")
            found[key] = node
        for key in required:
            if key not in found:
                self.fail(f"{key!r} is missing; add it")
        return found

    def named(self, what: str, *, most: int) -> dict[str, "Node"]:
        """Returns the node's mapping, whose keys are names that the script's author chooses."""
        found: dict[str, Node] = {}
        for key, node in self._pairs():
            if not _NAME.fullmatch(key):
                node.fail(
                    f"is not a valid {what} name; use at most 64 lower-case letters, digits and _, a letter first"
                )
            found[key] = node
        return self._counted(found, what, most)

    def keyed(self, what: str, *, most: int) -> dict[str, "Node"]:
        """Returns the node's mapping in order. Its keys may be any text."""
        return self._counted(dict(self._pairs()), what, most)

    def items(self, what: str, *, most: int) -> list["Node"]:
        """Returns the elements of the node's list. A node that is not a list counts as a list with one element."""
        if not isinstance(self.yaml_node, yaml.SequenceNode):
            return [self]
        children = [Node(child, f"{self.path}[{index}]") for index, child in enumerate(self.yaml_node.value)]
        if not children:
            self.fail(f"is empty; add at least one {what} or remove the key")
        if len(children) > most:
            self.fail(f"has {len(children)} entries; at most {most} are allowed")
        return children

    def text(self, *, most: int = 4096) -> str:
        """Returns the node's text, which must not be blank."""
        if not isinstance(self.yaml_node, yaml.ScalarNode):
            self.fail("must be a text")
        value: str = self.yaml_node.value
        if not value.strip():
            self.fail("is empty; add a text or remove the key")
        if len(value) > most:
            self.fail(f"has {len(value)} characters; at most {most} are allowed")
        return value

    def flag(self) -> bool:
        """Returns the node's value, which must be true or false."""
        value = self.text().lower()
        if value not in {"true", "false"}:
            self.fail("must be true or false")
        return value == "true"

    def number(self) -> Decimal:
        """Returns the node's value, which must be a finite number with an exponent of at most 20."""
        try:
            value = Decimal(self.text(most=40))
        except InvalidOperation:
            self.fail("must be a number")
        if not value.is_finite() or abs(value.adjusted()) > 20:
            self.fail("must be a finite number of ordinary size")
        return value

    def whole(self, least: int, most: int) -> int:
        """Returns the node's value, which must be a whole number from `least` to `most`, both included."""
        value = self.number()
        if value != value.to_integral_value() or not least <= value <= most:
            self.fail(f"must be a whole number from {least} to {most}")
        return int(value)

    def one_of(self, choices: Collection[str]) -> str:
        """Returns the node's text, which must be one of the given words."""
        value = self.text()
        if value not in choices:
            self.fail(f"must be one of: {', '.join(choices)}")
        return value

    def _pairs(self) -> list[tuple[str, "Node"]]:
        if not isinstance(self.yaml_node, yaml.MappingNode):
            self.fail("must be a mapping (key: value)")
        pairs: list[tuple[str, Node]] = []
        seen: set[str] = set()
        for key_node, value_node in self.yaml_node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                Node(key_node, self.path).fail("a key must be a plain word; a text that begins with {{ needs quotes")
            key: str = key_node.value
            place = Node(key_node, f"{self.path}.{key}" if self.path else key)
            if key in seen:
                place.fail("is given twice; keep one")
            seen.add(key)
            pairs.append((key, Node(value_node, place.path)))
        return pairs

    def _counted(self, found: dict[str, "Node"], what: str, most: int) -> dict[str, "Node"]:
        if not found:
            self.fail(f"is empty; add at least one {what} or remove the key")
        if len(found) > most:
            self.fail(f"has {len(found)} entries; at most {most} are allowed")
        return found


def read(text: str) -> tuple[Node, int]:
    """Returns the root node of `text` and the number of all its nodes.

    `text` must hold exactly one YAML document. Raises `ScriptError`.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ScriptError("the script is not valid Unicode text; save it as UTF-8") from None
    if size > LONGEST_SCRIPT:
        raise ScriptError(f"the script has {size} bytes; at most {LONGEST_SCRIPT} are allowed")
    try:
        nodes = _check_shape(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}" if mark else "the script"
        raise ScriptError(f"{place}: not valid YAML ({error.problem or error.context})") from None
    except yaml.YAMLError as error:
        raise ScriptError(
            f"the script is not valid YAML ({type(error).__name__}); look for control characters"
        ) from None
    if node is None:
        raise ScriptError("the script is empty; it needs at least `version: 1` and `intents:`")
    return Node(node, ""), nodes


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _check_shape(text: str) -> int:
    """Refuses aliases, deep nesting and too many nodes before a tree of nodes is built.

    The check reads YAML's stream of events, which needs neither recursion nor much memory.
    """
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ScriptError(f"line {_line(event)}: aliases (*name) are not allowed; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise ScriptError(f"line {_line(event)}: nested deeper than {_DEEPEST} levels; flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > MOST_NODES:
                raise ScriptError(
                    f"line {_line(event)}: the script has more than {MOST_NODES} keys, texts, lists and mappings up to "
                    "here; remove some"
                )
    return nodes
