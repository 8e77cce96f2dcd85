"""Makes strict JSON schemas for kubeconform.

The schemas of our own kinds come from crds/. The schemas of all other kinds come from Go modules.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .rendered import CACHE, CHART

Schema = dict[str, Any]

KUBERNETES = ("k8s.io/kubernetes@v1.34.4", "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk=")
OTHERS = {
    ("sigs.k8s.io/gateway-api@v1.3.0", "h1:q6okN+/UKDATola4JY7zXzx40WO4VISk7i9DIfOvr9M="): (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.83.0",
        "h1:qAKbm+45fqNGcn9sGTa1Ae2TM3KZuYA/uyoD2QKi9+o=",
    ): (
        "jsonnet/prometheus-operator/podmonitors-crd.json",
        "jsonnet/prometheus-operator/servicemonitors-crd.json",
        "jsonnet/prometheus-operator/prometheusrules-crd.json",
    ),
    ("github.com/kedacore/keda/v2@v2.17.2", "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk="): (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
    ),
}
"""Modules with their hashes and the files with kinds that we render. Not the newest versions, because newer ones accept
what older ones do."""

LOCATION = "{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json"
"""File name of a schema, as a kubeconform template; for a kind without a group, the group is its version."""

_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_NUMBER_OR_TEXT = ("io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString")
_REFERENCE = re.compile(r'"#/definitions/([^"]+)"')


class SchemasMissing(Exception):
    """Raised when a module with schemas cannot be downloaded. A retry may help.

    The message names the module and the reason.
    """


class SchemasUnknown(Exception):
    """Raised when a module with schemas does not have the pinned checksum. This error must never be ignored.

    The message names the module and says what is wrong with its checksum.
    """


def published() -> Path:
    """Returns the folder with the schemas of all kinds that are not our own.

    The folder is made once per version of this file. Raises the same errors as `unpacked`.
    """
    code = Path(__file__).read_bytes()
    folder = CACHE / f"schemas-{hashlib.sha256(code).hexdigest()[:12]}"
    if not folder.exists():
        definitions = _definitions(_module(*KUBERNETES))
        found = [*_built_in(definitions)]
        for module, files in OTHERS.items():
            folder_of_module = _module(*module)
            found += [each for file in files for each in _custom(folder_of_module / file, definitions)]
        draft = folder.with_suffix(f".{os.getpid()}")
        _write(draft, found)
        (draft / "metadata.json").write_text(
            json.dumps(_reachable({"$ref": f"#/definitions/{_METADATA}"}, definitions))
        )
        try:
            draft.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            shutil.rmtree(draft)  # another process was faster
    return folder


def ours(folder: Path) -> Path:
    """Writes the schemas of crds/ into `folder`. Replaces what was there. Raises the same errors as `unpacked`."""
    definitions = json.loads((published() / "metadata.json").read_text())["definitions"]
    shutil.rmtree(folder, ignore_errors=True)
    files = sorted((CHART.parents[1] / "crds").glob("*.yaml"))
    _write(folder, [each for file in files for each in _custom(file, definitions)])
    return folder


def file_name(kind: str, group: str, version: str) -> str:
    """Returns the file name of a kind's schema, in the form that `LOCATION` describes."""
    return f"{kind.lower()}_{group or version}_{version}.json"


def closed(schema: Schema) -> Schema:
    """Returns a schema that refuses unlisted keys at any depth.

    If Kubernetes accepts both a number and a text for a value, the new schema accepts both too.
    """
    made = {key: each for key, each in schema.items() if key not in {"description", "example"}}
    for key in ("properties", "patternProperties"):
        if key in made:
            made[key] = {name: closed(each) for name, each in made[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = closed(made[key])
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("x-kubernetes-int-or-string", False):
        made["type"] = ["string", "integer"]
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    return made


def _write(folder: Path, schemas: "list[tuple[str, Schema]]") -> None:
    folder.mkdir(parents=True)
    for name, schema in schemas:
        (folder / name).write_text(json.dumps(schema))


def _module(name: str, wanted: str) -> Path:
    """Downloads a Go module and returns its folder.

    Go runs outside of any other module. Otherwise, the versions that the other module requires would apply.
    """
    if shutil.which("go") is None:
        raise SchemasMissing(f"the schemas in {name} need Go, which is not installed")
    done = subprocess.run(
        ["go", "mod", "download", "-json", name], cwd="/", capture_output=True, text=True, timeout=600, check=False
    )
    return unpacked(name, json.loads(done.stdout) if done.stdout else {"Error": done.stderr}, wanted)


def unpacked(name: str, found: Mapping[str, str], wanted: str) -> Path:
    """Returns the folder of a downloaded module.

    `found` is Go's answer.

    Raises `SchemasMissing` and `SchemasUnknown`.
    """
    if "checksum mismatch" in found.get("Error", ""):
        raise SchemasUnknown(f"{name} does not have the checksum that Go knows: {found['Error'].strip()}")
    if "Error" in found:
        raise SchemasMissing(f"the schemas in {name} cannot be downloaded: {found['Error'].strip()}")
    if found["Sum"] != wanted:
        raise SchemasUnknown(f"{name} is {found['Sum']}, but {wanted} was pinned")
    return Path(found["Dir"])


def _definitions(kubernetes: Path) -> Mapping[str, Schema]:
    found = json.loads((kubernetes / "api/openapi-spec/swagger.json").read_text())["definitions"]
    return {
        name: {"type": ["string", "number"]} if name in _NUMBER_OR_TEXT else closed(each)
        for name, each in found.items()
    }


def _built_in(definitions: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            yield file_name(**kind), _reachable({"$ref": f"#/definitions/{name}"}, definitions)


def _custom(file: Path, definitions: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Yields the file name and the schema for each version of a CustomResourceDefinition."""
    spec = yaml.safe_load(file.read_text())["spec"]
    for version in spec["versions"]:
        schema = closed(version["schema"]["openAPIV3Schema"])
        # A CustomResourceDefinition does not describe metadata, because it is the same for all kinds.
        schema["properties"]["metadata"] = {"$ref": f"#/definitions/{_METADATA}"}
        yield file_name(spec["names"]["kind"], spec["group"], version["name"]), _reachable(schema, definitions)


def _reachable(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Returns the schema together with all definitions that it refers to."""
    found: dict[str, Schema] = {}
    queue = [schema]
    while queue:
        for name in _REFERENCE.findall(json.dumps(queue.pop())):
            if name not in found:
                found[name] = definitions[name]
                queue.append(definitions[name])
    return {**schema, "definitions": found}
