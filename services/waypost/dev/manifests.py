"""Reads the user's YAML files as a cluster would, and resolves the references between their objects.

Every error names the file, the document and the field, and says what to do. All errors are reported at once.
No error repeats a value, because the value may be a secret.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from waypost.bot import script
from waypost.command_errors import UsageError
from waypost.dev.kinds import BotSchedule, ConfigMap, Secret, WhatsAppNumber
from waypost.operator.api.number_models import CREDENTIALS_LABEL
from waypost.operator.cluster.interface import Manifest
from waypost.operator.number.credentials import Credentials

API_VERSION = "waypost.dev/v1alpha1"
BOT_KEY = "bot.yaml"
LARGEST_FILE = 4 * 1024 * 1024

_ADVICE = {
    "missing": "is missing",
    "extra_forbidden": "is not a field here; check its spelling and indentation",
    "string_type": "must be text; write it in quotes",
    "string_pattern_mismatch": "has the wrong form",
}
_FORMS = {
    "phoneNumberId": "must be the id of the number at Meta: digits, in quotes",
    "wabaId": "must be the id of the WhatsApp Business account at Meta: digits, in quotes",
    "appId": "must be the id of the app at Meta: digits, in quotes",
    "accessToken": "must be one word: the token has a space or a line break in it",
    "pin": "must be six digits, in quotes",
    "name": "must be small letters, digits and '-', at most 63 (no dots)",
    "namespace": "must be small letters, digits and '-', at most 63 (no dots)",
    "language": "must be a language code as Meta writes it, as en or pt_BR",
    "messages": "must be a duration, as 90d or 12h",
    "plugin": "must look like package.module:function",
    "schedule": "must be a cron expression of five fields",
    "timeZone": "must be a name of the IANA database, as Europe/Rome",
    "contacts": "must be phone numbers in E.164, as +393331234567",
}


Model = TypeVar("Model", bound=BaseModel)
Kind = TypeVar("Kind", Secret, ConfigMap, WhatsAppNumber, BotSchedule)


class ManifestError(UsageError):
    """Raised when the files contain mistakes. Nothing has been changed when this error is raised."""


@dataclass(frozen=True)
class DeclaredNumber:
    """A number with the objects that it refers to."""

    number: WhatsAppNumber
    credentials: Credentials
    bot: str | None

    @property
    def namespace(self) -> str:
        """Returns the namespace of the number's `WhatsAppNumber`."""
        return self.number.metadata.namespace

    @property
    def name(self) -> str:
        """Returns the name of the number's `WhatsAppNumber`."""
        return self.number.metadata.name


@dataclass(frozen=True)
class Declared:
    """The objects that a set of files declares. `notes` explain to the user what is skipped, and why."""

    numbers: tuple[DeclaredNumber, ...] = ()
    schedules: tuple[BotSchedule, ...] = ()
    objects: tuple[Manifest, ...] = field(default=(), repr=False)
    """All objects as they were written, for the operator. They contain secrets."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Located(Generic[Kind]):
    """An object, with the file and the document in which it was found."""

    where: str
    content: Kind


@dataclass
class _Reading:
    """The objects and problems that were found in the files read so far."""

    numbers: dict[tuple[str, str], _Located[WhatsAppNumber]] = field(default_factory=dict)
    secrets: dict[tuple[str, str], _Located[Secret]] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], _Located[ConfigMap]] = field(default_factory=dict)
    schedules: dict[tuple[str, str], _Located[BotSchedule]] = field(default_factory=dict)
    objects: list[Manifest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def load(paths: Iterable[Path]) -> Declared:
    """Reads all documents of all files. Raises `ManifestError`, which lists all problems that were found."""
    reading = _Reading()
    for path in paths:
        try:
            if path.stat().st_size > LARGEST_FILE:
                reading.problems.append(f"{path}: larger than 4 MiB; split it")
                continue
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            reading.problems.append(f"{path}: cannot be read ({error.strerror}); name a YAML file")
            continue
        except UnicodeDecodeError:
            reading.problems.append(f"{path}: is not UTF-8 text; save it as UTF-8")
            continue
        _read(text, str(path), reading)
    numbers = [resolved for found in reading.numbers.values() if (resolved := _resolve(found, reading))]
    _refuse_duplicate_ids(reading)
    _check_schedules(reading)
    if not reading.numbers and not reading.problems:
        reading.problems.append(f"no WhatsAppNumber ({API_VERSION}) in these files; see examples/")
    if reading.problems:
        raise ManifestError(reading.problems)
    active = tuple(resolved for resolved in numbers if not resolved.number.spec.suspend)
    notes = [f"{n.namespace}/{n.name} is suspended and is skipped" for n in numbers if n.number.spec.suspend]
    schedules = tuple(found.content for found in reading.schedules.values())
    return Declared(active, schedules, tuple(reading.objects), (*reading.notes, *notes))


def _read(text: str, file: str, reading: _Reading) -> None:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"
        reading.problems.append(f"{file}: {line}: is not YAML ({error.problem})")
        return
    except (yaml.YAMLError, ValueError, RecursionError):
        reading.problems.append(f"{file}: is not YAML")
        return
    for position, document in enumerate(documents, start=1):
        if document is None:
            continue
        _take(document, f"{file}, document {position}", reading)


def _take(document: Any, where: str, reading: _Reading) -> None:
    if not isinstance(document, dict) or not isinstance(kind := document.get("kind"), str):
        reading.problems.append(f"{where}: has no kind; each document is one Kubernetes object")
        return
    version = document.get("apiVersion")
    expected = API_VERSION if kind in {"WhatsAppNumber", "BotSchedule"} else "v1"
    if kind not in {"WhatsAppNumber", "BotSchedule", "Secret", "ConfigMap", "Namespace"}:
        reading.problems.append(
            f"{where}: kind {kind} is not supported here; use WhatsAppNumber, BotSchedule, Secret or ConfigMap"
        )
        return
    if version != expected:
        reading.problems.append(f"{where} ({kind}): apiVersion must be {expected}")
        return
    where = f"{where} ({kind} {_label(document)})"
    if kind == "BotSchedule":
        _add(BotSchedule, document, where, reading.schedules, reading)
    elif kind == "Secret":
        _add(Secret, document, where, reading.secrets, reading)
    elif kind == "ConfigMap":
        _add(ConfigMap, document, where, reading.config_maps, reading)
    elif kind == "WhatsAppNumber":
        _add(WhatsAppNumber, document, where, reading.numbers, reading)


def _label(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return f"{metadata.get('namespace', 'default')}/{metadata.get('name', '?')}"


def _add(
    model: type[Kind],
    document: dict[str, Any],
    where: str,
    objects: dict[tuple[str, str], _Located[Kind]],
    reading: _Reading,
) -> None:
    if (content := _parse(model, document, where, reading)) is None:
        return
    reading.objects.append({**document, "metadata": {**document["metadata"], "namespace": content.metadata.namespace}})
    first = objects.setdefault((content.metadata.namespace, content.metadata.name), _Located(where, content))
    if first.where != where:
        reading.problems.append(f"{where}: is declared twice, first in {first.where}; remove one")


def _parse(model: type[Model], document: object, where: str, reading: _Reading, prefix: str = "") -> Model | None:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            path = [prefix, *map(str, problem["loc"])] if prefix else [str(part) for part in problem["loc"]]
            advice = _ADVICE.get(problem["type"], problem["msg"][0].lower() + problem["msg"][1:])
            if problem["type"] == "value_error":
                advice = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "string_pattern_mismatch" and path:
                advice = next((_FORMS[name] for name in path[:-3:-1] if name in _FORMS), advice)
            reading.problems.append(": ".join(part for part in (where, ".".join(path), advice) if part))
        return None


def _resolve(found: _Located[WhatsAppNumber], reading: _Reading) -> DeclaredNumber | None:
    namespace, spec = found.content.metadata.namespace, found.content.spec
    before = len(reading.problems)
    credentials = _credentials(found.where, namespace, spec.credentials_ref.name, reading)
    bot = None
    if spec.bot and spec.bot.config_map_ref:
        bot = _bot(found.where, namespace, spec.bot.config_map_ref.name, reading)
    if credentials is None or len(reading.problems) > before:
        return None
    return DeclaredNumber(found.content, credentials, bot)


def _credentials(where: str, namespace: str, name: str, reading: _Reading) -> Credentials | None:
    secret = reading.secrets.get((namespace, name))
    if secret is None:
        reading.problems.append(f"{where}: spec.credentialsRef.name: no Secret {name} in namespace {namespace}; add it")
        return None
    if not secret.content.is_opted_in:
        reading.problems.append(f'{secret.where}: metadata.labels: must carry {CREDENTIALS_LABEL}: "true" to be used')
        return None
    keys = {"appId", "appSecret", "accessToken", "previousAppSecret", "pin"}
    values = {key: value for key, value in secret.content.values().items() if key in keys}
    return _parse(Credentials, values, secret.where, reading, "stringData")


def _bot(where: str, namespace: str, name: str, reading: _Reading) -> str | None:
    config_map = reading.config_maps.get((namespace, name))
    if config_map is None:
        reading.problems.append(
            f"{where}: spec.bot.configMapRef.name: no ConfigMap {name} in namespace {namespace}; add it"
        )
        return None
    text = config_map.content.data.get(BOT_KEY)
    if text is None:
        reading.problems.append(f"{config_map.where}: data: has no key {BOT_KEY}; the bot's script goes there")
        return None
    try:
        script.load(text)
    except script.ScriptError as error:
        reading.problems.append(f"{config_map.where}: data.{BOT_KEY}: {error}")
        return None
    return text


def _refuse_duplicate_ids(reading: _Reading) -> None:
    first: dict[str, str] = {}
    for found in reading.numbers.values():
        other = first.setdefault(found.content.spec.phone_number_id, found.where)
        if other != found.where:
            reading.problems.append(f"{found.where}: spec.phoneNumberId: is also used by {other}")


def _check_schedules(reading: _Reading) -> None:
    for found in reading.schedules.values():
        namespace, name = found.content.metadata.namespace, found.content.spec.number_ref.name
        if (namespace, name) not in reading.numbers:
            reading.problems.append(
                f"{found.where}: spec.numberRef.name: no WhatsAppNumber {name} in namespace {namespace}; add it"
            )
