"""Rules for JSON values. Large rules are composed of small ones.

Each rule raises the error code that Meta uses. The code is 131008 for a missing key, 131009 for a value out
of bounds, and 100 for a wrong JSON type or an unknown key.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from waypost.simulator.world.refusal import Refusal, unexpected_key

Rule = Callable[[Any, str], None]
"""A function that checks a value. Its second argument is the path of the parameter, which error messages name.

Raises `Refusal`.
"""


def wrong_type(path: str, wanted: str) -> Refusal:
    """Returns Meta's error for a value of a wrong JSON type."""
    return Refusal(100, message=f"(#100) Param {path} must be {wanted}.")


def text(maximum: int, *, minimum: int = 1, pattern: str | None = None) -> Rule:
    """Returns a rule for strings whose length in characters is within the bounds."""
    compiled = re.compile(pattern) if pattern else None

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, "a string")
        if len(value) < minimum:
            raise Refusal(131009, f"Param {path} must have at least {minimum} characters.")
        if len(value) > maximum:
            raise Refusal(131009, f"Param {path} must be at most {maximum} characters long.")
        if minimum and not value.strip():
            raise Refusal(131009, f"Param {path} must not be blank.")
        if compiled and not compiled.fullmatch(value):
            raise Refusal(131009, f"Param {path} has a value that is not valid.")

    return rule


URL = text(2000, pattern=r"https?://[^\s]+")


def boolean(value: Any, path: str) -> None:
    """Checks that the value is a boolean. A boolean may also be written as a string."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise wrong_type(path, "a boolean")


def number(low: float, high: float) -> Rule:
    """Returns a rule for numbers within the bounds. The numbers may be written as strings."""

    def rule(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise wrong_type(path, "a number")
        try:
            amount = float(value)
        except ValueError:
            raise wrong_type(path, "a number") from None
        if not low <= amount <= high:
            raise Refusal(131009, f"Param {path} must be between {low:g} and {high:g}.")

    return rule


def one_of(*values: str) -> Rule:
    """Returns a rule that accepts exactly these strings."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in values:
            raise Refusal(100, message=f"(#100) Param {path} must be one of {{{', '.join(values)}}}.")

    return rule


def anything(_value: Any, _path: str) -> None:
    """Accepts any value."""


def array(item: Rule, *, maximum: int, minimum: int = 1) -> Rule:
    """Returns a rule for lists whose length is within the bounds and whose values all follow the rule `item`."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(path, "an array")
        if len(value) < minimum:
            raise Refusal(131009, f"Param {path} must have at least {minimum} item(s).")
        if len(value) > maximum:
            raise Refusal(131009, f"Param {path} must have at most {maximum} item(s).")
        for index, member in enumerate(value):
            item(member, f"{path}[{index}]")

    return rule


def record(
    required: Mapping[str, Rule] | None = None,
    optional: Mapping[str, Rule] | None = None,
    *,
    exactly_one: Sequence[str] = (),
    then: Rule | None = None,
) -> Rule:
    """Returns a rule for objects that may have only these keys. Exactly one key of `exactly_one` must be present.

    The rule `then` checks the whole object.
    """
    needed = dict(required or {})
    permitted = needed | dict(optional or {})

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "a JSON object")
        for key in value:
            if key not in permitted:
                raise unexpected_key(str(key), path)
        for key in needed:
            if value.get(key) is None:
                raise Refusal(131008, f"Required parameter {path}['{key}'] is missing.")
        for key, member in value.items():
            if member is not None or key in needed:
                permitted[key](member, f"{path}['{key}']")
        if exactly_one:
            present = [key for key in exactly_one if value.get(key) is not None]
            if not present:
                raise Refusal(131008, f"One of {', '.join(exactly_one)} is required in {path}.")
            if len(present) > 1:
                raise Refusal(131009, f"Only one of {', '.join(exactly_one)} may be set in {path}.")
        if then:
            then(value, path)

    return rule


def tagged(tag: str, cases: Mapping[str, Rule]) -> Rule:
    """Returns a rule for objects whose shape depends on the value of `tag`."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "a JSON object")
        case_name = value.get(tag)
        if case_name is None:
            raise Refusal(131008, f"Required parameter {path}['{tag}'] is missing.")
        case = cases.get(case_name) if isinstance(case_name, str) else None
        if case is None:
            raise Refusal(100, message=f"(#100) Param {path}['{tag}'] must be one of {{{', '.join(cases)}}}.")
        case(value, path)

    return rule
