"""Reads one of Meta's JSON objects, member by member.

Unexpected values are kept and noted. They never cause an error.
"""

import re
from typing import Any, TypeVar, get_args

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.lenient_json import Buffer
from waypost.cloudapi.inbound.records import Fault, Identity

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LONG_NUMBER = re.compile(r"\+?\d[\d .-]{5,}\d")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,48}")
_LARGEST_CODE = 2**31 - 1
_T = TypeVar("_T")


def safe_name(text: object) -> str:
    """Returns `text` if it looks like a name that Meta uses, else "?".

    The notes are counted in metrics, so they must contain no data of a user.
    """
    return text if isinstance(text, str) and _WORD.fullmatch(text) else "?"


class Members:
    """The members of one object. `notes` collects the names of unknown members, prefixed with `path`.

    Raises `ValueError` if `raw` is not a JSON object.
    """

    def __init__(self, raw: Buffer, path: str, notes: list[str]) -> None:
        self.raw = raw
        self.path = path
        self.notes = notes
        self._members = _decode(raw)
        self._read_names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def get(self, name: str) -> msgspec.Raw | None:
        """Returns the raw bytes of a member, or None if the member is missing or null."""
        self._read_names.add(name)
        raw = self._members.get(name)
        return None if raw is None or bytes(raw) == b"null" else raw

    def plain(self, name: str) -> Any:
        """Returns a member decoded to plain Python values."""
        raw = self.get(name)
        return None if raw is None else msgspec.json.decode(raw)

    def text(self, name: str) -> str | None:
        """Returns a member as text. A number is converted to text.

        Returns None if the member is empty, or is neither a text nor a number.
        """
        value = self.plain(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            self.note_member(name, "shape")
            return None
        return value or None

    def flag(self, name: str) -> bool | None:
        """Returns a member that must be true or false, or None if it is anything else."""
        value = self.plain(name)
        return value if isinstance(value, bool) else None

    def whole_number(self, name: str) -> int | None:
        """Returns a member that is an integer, written as a number or as digits. Returns None for anything else."""
        value = self.text(name)
        return int(value) if value is not None and value.isascii() and value.isdecimal() else None

    def unix_seconds(self, name: str) -> float:
        """Returns a member that is a time in unix seconds, or 0 if it is not a time."""
        return item_keys.seconds(self.plain(name))

    def identity(self, phone: str, user_id: str, parent: str | None = None) -> Identity:
        """Returns the person that the members with these names identify."""
        wa_id, own_id = item_keys.phone_and_user_id(self.text(phone), self.text(user_id))
        return Identity(wa_id or None, own_id or None, self.text(parent) if parent else None)

    def faults(self, name: str = "errors") -> tuple[Fault, ...]:
        """Returns the errors in a member that is a list of errors."""
        value = self.plain(name)
        return tuple(_fault(error) for error in value if isinstance(error, dict)) if isinstance(value, list) else ()

    def inner(self, name: str) -> "Members | None":
        """Returns a member that is an object. Returns None if the member is missing or is not an object."""
        raw = self.get(name)
        if raw is None:
            return None
        try:
            return Members(raw, f"{self.path}.{name}", self.notes)
        except msgspec.ValidationError:
            self.note_member(name, "shape")
            return None

    def typed(self, name: str, kind: type[_T]) -> _T | Any:
        """Returns a member as the type `kind`.

        If the member does not have the shape of `kind`, the method adds a note and returns plain values.
        """
        raw = self.get(name)
        if raw is None:
            return None
        self._note_unknown_members(name, raw, kind)
        try:
            return msgspec.json.decode(raw, type=kind, strict=False)
        except msgspec.ValidationError:
            self.note_member(name, "shape")
            return msgspec.json.decode(raw)

    def note_member(self, name: str, what: str = "") -> None:
        """Adds a note that a member is unknown, or that it is unexpected for the reason `what`."""
        self.notes.append(f"{self.path}.{safe_name(name)}{':' + what if what else ''}")

    def note_value(self, name: str, value: str) -> None:
        """Adds a note that a member is known but has an unknown value."""
        self.notes.append(f"{self.path}.{name}={safe_name(value)}")

    def note_unread(self) -> None:
        """Adds a note for every member that no caller has read."""
        for name in self._members:
            if name not in self._read_names:
                self.note_member(name)

    def _note_unknown_members(self, name: str, raw: msgspec.Raw, kind: Any) -> None:
        shape = next((argument for argument in get_args(kind) if isinstance(argument, type)), kind)
        if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
            return
        objects = msgspec.json.decode(raw)
        for item in objects if isinstance(objects, list) else [objects]:
            if isinstance(item, dict):
                for member in item.keys() - set(shape.__struct_encode_fields__):
                    self.notes.append(f"{self.path}.{name}.{safe_name(member)}")


def _fault(error: dict[str, Any]) -> Fault:
    code = error.get("code")
    if isinstance(code, str) and code.isascii() and code.isdecimal():
        code = int(code[:12])
    if not isinstance(code, int) or isinstance(code, bool) or abs(code) > _LARGEST_CODE:
        code = None
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else data
    title, message = error.get("title"), error.get("message")
    title = title if isinstance(title, str) else message
    return Fault(
        code,
        _LONG_NUMBER.sub("…", title)[:200] if isinstance(title, str) else None,
        details if isinstance(details, str) else message if isinstance(message, str) else None,
    )
