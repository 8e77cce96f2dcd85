"""An API server in memory, against which a real kopf operator runs.

The server implements what this operator uses:

- discovery, and paged lists with label selectors
- watches from a resource version (410 if the version is too old), with bookmarks
- optimistic locking
- server-side apply, in which a field manager owns its fields
- the status subresource, generations and finalizers
- no event for a write that changes nothing

It has no schemas, no garbage collection and no RBAC. tests/cluster covers those.

kmock was tried for this, but it has no resource versions, apply, selectors or separate status.
"""

import asyncio
import base64
import copy
import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from waypost.operator.api.kinds import KINDS, OURS, Kind

T = TypeVar("T")
Manifest = dict[str, Any]
Where = tuple[str, str]

_BY_PLURAL = {(kind.group, kind.plural): kind for kind in KINDS.values()}
_WITH_GENERATION = {*OURS, "CronJob"}


class Refusal(Exception):
    """Raised to answer a request with this status and reason."""

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Write:
    """A write that a client requested.

    `changed` says whether the write had an effect. `partial` says whether the answer left out the content.
    """

    verb: str
    kind: str
    namespace: str
    name: str
    manager: str
    changed: bool
    partial: bool


@dataclass
class Fault:
    """A fault that answers some requests with `status`.

    It applies to the next `times` requests for which `matches(verb, kind, name)` is true.
    """

    matches: Callable[[str, str, str], bool]
    status: int
    times: int
    message: str = ""


class ApiServer:
    """The API server, which runs in its own thread.

    When kopf ends, it cancels every task of its event loop. Therefore, the server cannot use the same loop.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[Where, Manifest]] = {name: {} for name in KINDS}
        self._owned: dict[tuple[str, Where], dict[str, set[tuple[str, ...]]]] = {}
        self._version = 100
        self._history: list[tuple[int, str, str, Manifest]] = []
        self._oldest = 0
        self._watchers: dict[asyncio.Queue[tuple[str, str, Manifest] | None], str] = {}
        self.opened: Counter[str] = Counter()
        """How many watches clients have opened so far, by kind."""
        self.bookmark_s = 60.0
        """Seconds without an event after which a watch gets a bookmark."""
        self._ready, self._thread_done = threading.Event(), threading.Event()
        self.writes: list[Write] = []
        self.requests: list[tuple[str, str, str]] = []
        self.selectors: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.url = ""
        self.annotations: dict[str, dict[str, str]] = {}
        """Annotations of Namespaces. Every Namespace exists."""

    # what tests call

    def start(self) -> None:
        """Starts the server, and waits until it listens."""
        threading.Thread(target=self._run, name="api server", daemon=True).start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """Stops the server and closes its watches. Does nothing if the server has already stopped."""
        if not self._thread_done.is_set():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread_done.wait(10)

    def kubeconfig(self, folder: Path, url: str = "") -> Path:
        """Writes a kubeconfig for this server, and returns the path. `url` is that of a proxy to the server."""
        path = folder / "kubeconfig"
        entry: Manifest = {
            "clusters": [{"name": "c", "cluster": {"server": url or self.url}}],
            "users": [{"name": "u", "user": {}}],
        }
        entry |= {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **entry}))
        return path

    def put(self, manifest: Manifest) -> Manifest:
        """Creates or replaces an object, as a user does with `kubectl apply`."""

        async def written() -> Manifest:
            return self._put(manifest)

        return self._do(written())

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns a copy of an object, or None."""
        found = self._objects[kind].get((namespace, name))
        return copy.deepcopy(found)

    def all(self, kind: str) -> list[Manifest]:
        """Returns copies of all objects of a kind."""
        return copy.deepcopy(list(self._objects[kind].values()))

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[Manifest], object]) -> Manifest:
        """Lets `change` modify a copy of an object, and writes the copy, including its status."""

        async def edited() -> Manifest:
            manifest = copy.deepcopy(self._objects[kind][namespace, name])
            change(manifest)
            return self._store(kind, manifest)[0]

        return self._do(edited())

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object, or marks it as deleted if it has finalizers."""

        async def deleted() -> None:
            self._delete(kind, (namespace, name))

        self._do(deleted())

    def end_streams(self, unseen: Callable[[], object] = lambda: None) -> None:
        """Closes every watch and forgets the history up to now, so that clients must list again.

        `unseen` is called between these two steps, so no watch sees its changes. It may use `store` and `remove`.
        """

        async def ended() -> None:
            for queue in list(self._watchers):
                queue.put_nowait(None)
            unseen()
            self._oldest = self._version

        self._do(ended())

    def store(self, manifest: Manifest) -> None:
        """Does the same as `put`. Only the `unseen` function of `end_streams` may call this method."""
        self._put(manifest)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Does the same as `delete`. Only the `unseen` function of `end_streams` may call this method."""
        self._delete(kind, (namespace, name))

    def watching(self, kind: str) -> bool:
        """Returns whether any client watches that kind."""
        return kind in list(self._watchers.values())

    def changes(self, kind: str | None = None) -> list[Write]:
        """Returns the writes that had an effect."""
        return [each for each in list(self.writes) if each.changed and kind in {None, each.kind}]

    # the server

    def _run(self) -> None:
        asyncio.run(self._serve())
        self._thread_done.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stopped.wait()
        for queue in list(self._watchers):
            queue.put_nowait(None)
        await runner.cleanup()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refusal as refusal:
            status = {"kind": "Status", "status": "Failure", "reason": refusal.reason, "message": refusal.message}
            return web.json_response({**status, "apiVersion": "v1", "code": refusal.status}, status=refusal.status)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if (found := self._discovery(parts)) is not None:
            return web.json_response(found)
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        namespace = None
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = _BY_PLURAL.get((group, rest[0]))
        if kind is None and rest[0] == "namespaces":
            metadata = {"name": rest[1], "annotations": self.annotations.get(rest[1], {})}
            return web.json_response({"kind": "PartialObjectMetadata", "metadata": metadata})
        if kind is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        name = rest[1] if len(rest) > 1 else None
        if request.method == "GET" and name is None:
            if request.query.get("watch") == "true":
                return await self._watch(request, kind, namespace)
            return web.json_response(self._list(request, kind, namespace))
        body = await request.json() if request.can_read_body else None
        verb = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}.get(request.method, "patch")
        if "apply-patch" in request.headers.get("Content-Type", ""):
            verb = "apply"
        asked = name or (body or {}).get("metadata", {}).get("name") or ""
        self.requests.append((verb, kind.name, asked))
        self._fail_if_armed(verb, kind.name, asked)
        where = (namespace or "", asked)
        if verb == "get":
            if where not in self._objects[kind.name]:
                raise Refusal(404, "NotFound")
            return web.json_response(self._objects[kind.name][where])
        manifest, changed = self._write(verb, kind, where, body, request)
        name = manifest["metadata"].get("name", asked)
        manager = request.query.get("fieldManager", "")
        partial = "as=PartialObjectMetadata" in request.headers.get("Accept", "")
        self.writes.append(Write(verb, kind.name, where[0], name, manager, changed, partial))
        if partial:
            answer = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": manifest["metadata"]}
            return web.json_response(answer)
        return web.json_response(manifest, status=201 if verb == "create" else 200)

    def _fail_if_armed(self, verb: str, kind: str, name: str) -> None:
        for fault in self.faults:
            if fault.times > 0 and fault.matches(verb, kind, name):
                fault.times -= 1
                raise Refusal(fault.status, "Faulty", fault.message)

    def _write(self, verb: str, kind: Kind, where: Where, body: Any, request: web.Request) -> tuple[Manifest, bool]:
        subresource = "status" if request.path.endswith("/status") else None
        present = self._objects[kind.name].get(where)
        if verb == "create":
            metadata = body["metadata"]
            if "name" not in metadata:
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:6]
            if (where[0], metadata["name"]) in self._objects[kind.name]:
                raise Refusal(409, "AlreadyExists")
            return self._store(kind.name, {**body, "metadata": {**metadata, "namespace": where[0]}})
        if verb == "apply":
            return self._apply(kind, where, present, body, request.query["fieldManager"])
        if present is None:
            raise Refusal(404, "NotFound")
        if verb == "delete":
            return self._delete(kind.name, where), True
        if request.headers.get("Content-Type", "").startswith("application/json-patch"):
            raise Refusal(415, "UnsupportedMediaType")
        wanted = body if verb == "update" else _merged(present, body)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version is not None and version != present["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified")
        manifest = copy.deepcopy(present)
        if subresource == "status":
            manifest["status"] = wanted.get("status") or {}
        else:
            status = present.get("status")
            manifest = {key: value for key, value in wanted.items() if key != "status"}
            if status is not None:
                manifest["status"] = status
            immutable = ("uid", "creationTimestamp", "deletionTimestamp", "generation", "name", "namespace")
            manifest["metadata"] = {**wanted["metadata"]} | {
                key: present["metadata"][key] for key in immutable if key in present["metadata"]
            }
        return self._store(kind.name, manifest)

    def _apply(
        self, kind: Kind, where: Where, present: Manifest | None, body: Manifest, manager: str
    ) -> tuple[Manifest, bool]:
        body = _with_data(body)
        version = body["metadata"].pop("resourceVersion", None)
        if version is not None and present is not None and version != present["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified")
        owned = self._owned.setdefault((kind.name, where), {})
        if present is None:
            owned.clear()
        before, now = owned.get(manager, set()), set(_leaves(body))
        manifest = copy.deepcopy(present) if present else {"metadata": {}}
        others = set().union(*(paths for name, paths in owned.items() if name != manager))
        for path in before - now - others:
            _remove(manifest, path)
        for path in now:
            value = _get(body, path)
            if value != {} or _get_or_none(manifest, path) is None:
                _set(manifest, path, value)
        for name in owned:
            owned[name] -= now if name != manager else set()
        owned[manager] = now
        manifest |= {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        manifest["metadata"] |= {"namespace": where[0], "name": where[1]}
        if present and "status" in present:
            manifest["status"] = present["status"]
        return self._store(kind.name, manifest)

    def _put(self, manifest: Manifest) -> Manifest:
        manifest = copy.deepcopy(_with_data(manifest))
        where = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        present = self._objects[manifest["kind"]].get(where)
        if present is not None:
            manifest["metadata"] = {**present["metadata"], **manifest["metadata"]}
            if "status" in present:
                manifest["status"] = present["status"]
        return self._store(manifest["kind"], manifest)[0]

    def _store(self, kind: str, manifest: Manifest) -> tuple[Manifest, bool]:
        metadata = manifest["metadata"]
        where = (metadata["namespace"], metadata["name"])
        present = self._objects[kind].get(where)
        if kind == "Secret" and sum(map(len, (manifest.get("data") or {}).values())) * 3 // 4 > 1_048_576:
            raise Refusal(422, "Invalid", "data: Too long: must have at most 1048576 bytes")
        manifest = {"apiVersion": KINDS[kind].api_version, "kind": kind, **manifest}
        if present is None:
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
            if kind in _WITH_GENERATION:
                metadata["generation"] = 1
        else:
            metadata["resourceVersion"] = present["metadata"]["resourceVersion"]
            if manifest == present:
                return present, False
            if kind in _WITH_GENERATION and manifest.get("spec") != present.get("spec"):
                metadata["generation"] = present["metadata"]["generation"] + 1
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._objects[kind].pop(where, None)
            self._publish("DELETED", kind, manifest)
            return manifest, True
        self._objects[kind][where] = manifest
        self._publish("ADDED" if present is None else "MODIFIED", kind, manifest)
        return manifest, True

    def _delete(self, kind: str, where: Where) -> Manifest:
        present = self._objects[kind].get(where)
        if present is None:
            raise Refusal(404, "NotFound")
        manifest = copy.deepcopy(present)
        if manifest["metadata"].get("finalizers"):
            manifest["metadata"].setdefault("deletionTimestamp", _now())
            return self._store(kind, manifest)[0]
        del self._objects[kind][where]
        self._owned.pop((kind, where), None)
        self._publish("DELETED", kind, manifest)
        return manifest

    def _publish(self, change: str, kind: str, manifest: Manifest) -> None:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        snapshot = copy.deepcopy(manifest)
        self._history.append((self._version, change, kind, snapshot))
        for queue in self._watchers:
            queue.put_nowait((change, kind, snapshot))

    def _list(self, request: web.Request, kind: Kind, namespace: str | None) -> Manifest:
        selector = request.query.get("labelSelector", "")
        self.requests.append(("list", kind.name, ""))
        self._fail_if_armed("list", kind.name, "")
        self.selectors.append((kind.name, selector))
        found = [
            manifest
            for where, manifest in sorted(self._objects[kind.name].items())
            if namespace in {None, where[0]} and _selected(manifest, selector)
        ]
        begin, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0)
        page = found[begin : begin + limit] if limit else found
        metadata: Manifest = {"resourceVersion": str(self._version)}
        if limit and begin + limit < len(found):
            metadata["continue"] = str(begin + limit)
        items = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in page]
        return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    async def _watch(self, request: web.Request, kind: Kind, namespace: str | None) -> web.StreamResponse:
        selector = request.query.get("labelSelector", "")
        self.selectors.append((kind.name, selector))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        since = int(request.query.get("resourceVersion") or 0)
        queue: asyncio.Queue[tuple[str, str, Manifest] | None] = asyncio.Queue()
        for version, change, name, manifest in self._history:
            if version > since:
                queue.put_nowait((change, name, manifest))
        if since < self._oldest:
            status = {"kind": "Status", "code": 410, "reason": "Expired"}
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            return response
        self._watchers[queue] = kind.name
        self.opened[kind.name] += 1
        try:
            while (event := await self._next(queue, kind, request)) is not None:
                change, name, manifest = event
                inside = namespace in {None, manifest["metadata"].get("namespace")}
                if change == "BOOKMARK" or (name == kind.name and inside and _selected(manifest, selector)):
                    await response.write(json.dumps({"type": change, "object": manifest}).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            del self._watchers[queue]
        return response

    async def _next(
        self, queue: "asyncio.Queue[tuple[str, str, Manifest] | None]", kind: Kind, request: web.Request
    ) -> tuple[str, str, Manifest] | None:
        """Returns the next event for a watch, or a bookmark if there is none for some time."""
        try:
            async with asyncio.timeout(self.bookmark_s if request.query.get("allowWatchBookmarks") else None):
                return await queue.get()
        except TimeoutError:
            metadata = {"resourceVersion": str(self._version)}
            bookmark = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
            return "BOOKMARK", kind.name, bookmark

    def _discovery(self, parts: list[str]) -> Manifest | None:
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            groups = {kind.group: kind.version for kind in KINDS.values() if kind.group}
            groups["apiextensions.k8s.io"] = "v1"
            return {
                "kind": "APIGroupList",
                "groups": [
                    {"name": group, "preferredVersion": {"version": version}, "versions": [{"version": version}]}
                    for group, version in groups.items()
                ],
            }
        if (parts[0], len(parts)) not in {("api", 2), ("apis", 3)}:
            return None
        group = "" if parts[0] == "api" else parts[1]
        verbs = ["get", "list", "watch", "create", "patch", "update", "delete"]
        entries = [
            {"name": name, "kind": kind, "namespaced": namespaced, "singularName": "", "verbs": verbs}
            for name, kind, namespaced in [
                *((kind.plural, kind.name, True) for kind in KINDS.values() if kind.group == group),
                *((f"{kind.plural}/status", kind.name, True) for kind in KINDS.values() if kind.group == group),
                *([("namespaces", "Namespace", False)] if not group else []),
                *(
                    [("customresourcedefinitions", "CustomResourceDefinition", False)]
                    if group == "apiextensions.k8s.io"
                    else []
                ),
            ]
        ]
        return {"kind": "APIResourceList", "groupVersion": "/".join(parts[1:]), "resources": entries}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _selected(manifest: Manifest, selector: str) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    for term in filter(None, re.split(r",(?![^(]*\))", selector)):
        key, within, values = term.partition(" in ")
        if within:
            if labels.get(key) not in values.strip("()").split(","):
                return False
            continue
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _with_data(manifest: Manifest) -> Manifest:
    if "stringData" not in manifest:
        return manifest
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in manifest["stringData"].items()}
    rest = {key: value for key, value in manifest.items() if key != "stringData"}
    return {**rest, "data": {**(manifest.get("data") or {}), **encoded}}


def _merged(into: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(into) if isinstance(into, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _leaves(tree: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        here = (*path, key)
        if here in {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, here)
        else:
            yield here


def _get(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return copy.deepcopy(tree)


def _get_or_none(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _set(tree: Manifest, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _remove(tree: Manifest, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        tree = tree.get(key, {})
    tree.pop(path[-1], None)
